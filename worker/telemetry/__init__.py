"""Logs, metrics, traces, and whether the worker is well."""
