"""CPU time of the worker process alone, before and after a change."""
