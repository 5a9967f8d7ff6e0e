"""Run sweeps, each run in its own process, here or on a cluster: Hydra composes, submitit submits, SLURM schedules."""
