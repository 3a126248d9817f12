"""The rivals in Python: run as scripts from this folder, in an environment of their own."""
