"""The configuration groups, found as `pkg://prune_init.conf` from an installed package."""
