"""One file an objective: a module from a batch to a Loss."""
