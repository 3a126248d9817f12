"""Bulk repairs in the background: progress, pause, stop, and who requested what."""
