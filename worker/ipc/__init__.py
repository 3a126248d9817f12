"""The protocol between the worker process and its decoder processes: framing and messages."""
