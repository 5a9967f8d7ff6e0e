"""Sweeps: what was planned, how far it is, and one table of all results. Reads files; runs nothing."""
