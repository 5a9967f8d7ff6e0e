"""Sweeps: what was planned, how far it is, how long it takes, and one table of all results; measurements of speed."""
