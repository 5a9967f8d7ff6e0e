"""Faster scoring: the same scores, from the remaining weights only or as one CUDA graph. Only `loop.py` imports it."""
