"""Finding the weights that lie on a path from input to output."""
