"""A study outside the package: a sparse network classifies points on three rings."""
