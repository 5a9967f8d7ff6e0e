"""Masks: which weights there are, how they are scored and chosen, paths through what is left, and upkeep."""
