"""The views of the web console: one module for each, with its routes and their handlers."""
