"""Everything that is configured rather than coded."""
