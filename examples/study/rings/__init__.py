"""A study outside the package: three rings of points, told apart by a sparse network."""
