"""The command line: each command parses arguments, calls the logic and prints the result."""
