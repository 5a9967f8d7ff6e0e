"""Many runs, each a process of its own: here or on a cluster. Hydra composes, submitit submits, SLURM schedules."""
