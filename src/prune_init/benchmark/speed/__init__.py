"""How fast pruning and training are, beside a plain implementation."""
