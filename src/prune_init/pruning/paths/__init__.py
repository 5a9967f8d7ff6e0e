"""Which weights lie on a path from input to output."""
