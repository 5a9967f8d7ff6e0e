"""Seeing a folder of runs: one page that opens offline, and the published figures redrawn."""
