"""Masks, schedules, the score-and-select loop and its cost."""
