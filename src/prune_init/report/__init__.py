"""Show a folder of runs: as one page that opens offline, and as the figures of the paper."""
