"""What a run is and what it leaves: its settings and their identity, its result, its status."""
