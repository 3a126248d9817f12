"""Images, recipes, messages and the rules of their state machine: pure values, standard library only."""
