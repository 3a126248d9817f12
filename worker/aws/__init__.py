"""How AWS is spoken to."""
