"""Masks: finding the prunable weights, scoring and selecting them, following paths, and keeping pruned weights at 0."""
