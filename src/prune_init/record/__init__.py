"""The settings and identity of a run, its result and its status."""
