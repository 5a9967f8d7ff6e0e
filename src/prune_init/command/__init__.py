"""The command: what is checked before a run, how its parts are made, the run itself, and what it shows."""
