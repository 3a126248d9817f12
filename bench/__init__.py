"""Benchmarks and simulations. Each package is a command, for example `python -m bench.imaging`."""
