"""Sweeps: their plans, progress and duration, and one table of all results; measurements of speed."""
