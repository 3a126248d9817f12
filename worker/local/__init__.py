"""An AWS of one's own, for the demo, for local use and for the tests."""
