"""The contenders of `bench.imaging`, each a script of its own, and what they are pinned to."""
