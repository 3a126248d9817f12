"""One message from receive to disposition."""
