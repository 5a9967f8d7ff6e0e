"""What is measured of networks and scorers, as commands: collapse, conservation, cost, families of networks."""
