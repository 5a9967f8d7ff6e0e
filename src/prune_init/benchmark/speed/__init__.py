"""The speed of pruning and training, compared with a plain implementation."""
