"""Faster scoring on a CPU: the same scores, computed from the remaining weights only. Only `loop.py` imports it."""
