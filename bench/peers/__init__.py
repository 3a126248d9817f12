"""What the worker is compared with."""
