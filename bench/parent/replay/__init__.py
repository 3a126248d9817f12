"""Holds the sitecustomize module that makes decoder processes replay their first result."""
