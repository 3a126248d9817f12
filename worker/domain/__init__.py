"""What the worker talks about: pure values and rules, standard library only."""
