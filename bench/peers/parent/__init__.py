"""What stands around the worker's own process while it is measured alone."""
