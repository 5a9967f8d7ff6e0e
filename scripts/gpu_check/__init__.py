"""Whether prune_init is right on a GPU, and how fast, in less than eight minutes."""
