"""Pixels: the pool of decoder children, and the steps that they run."""
