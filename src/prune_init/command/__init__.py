"""The command: checks before a run, assembly of its parts, the run itself, and its output in the terminal."""
