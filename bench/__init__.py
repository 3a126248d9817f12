"""What is measured and simulated, and never asserted as a test: each module is a command of its own."""
