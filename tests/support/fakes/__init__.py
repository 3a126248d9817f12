"""Fakes of the worker's protocols and of AWS clients."""
