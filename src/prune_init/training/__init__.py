"""Training with Lightning: the prune-then-train module, its data, and what is recorded while it runs."""
