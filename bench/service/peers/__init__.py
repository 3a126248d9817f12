"""Services that do the same work as image-worker on other stacks."""
