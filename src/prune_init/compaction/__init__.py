"""From a masked net to a smaller plain one with the same outputs and gradients."""
