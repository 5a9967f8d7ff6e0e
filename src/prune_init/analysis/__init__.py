"""Commands that measure networks and scorers: layer collapse, conservation, cost, families of networks."""
