"""Launchers of sweeps, in the place where Hydra finds plugins; their code is in prune_init.launching."""
