"""A check of prune_init on a GPU, of its results and its speed, in less than eight minutes."""
