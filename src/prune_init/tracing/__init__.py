"""Networks as torch.fx graphs: how they are recorded, and what their nodes are."""
