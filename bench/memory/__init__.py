"""Memory of the worker and its decoder processes over thousands of images."""
