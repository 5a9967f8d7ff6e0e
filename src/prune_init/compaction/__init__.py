"""Turn a masked network into a smaller plain one with the same outputs and gradients."""
