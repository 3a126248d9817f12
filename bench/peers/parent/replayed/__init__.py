"""Holds the `sitecustomize` of workers whose children repeat themselves."""
