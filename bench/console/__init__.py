"""The web console over a large record: time to the first byte of every view, and memory."""
