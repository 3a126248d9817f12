"""AWS cost of processing a million images."""
