"""Launchers of sweeps, where Hydra looks for them; what they do is in prune_init.launching."""
