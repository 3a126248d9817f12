"""Repairing the record and the queue: the logic behind the repair commands."""
