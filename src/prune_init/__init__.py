"""Prune neural networks at initialisation."""
