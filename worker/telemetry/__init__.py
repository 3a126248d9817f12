"""Logs, metrics, traces, and the health endpoint."""
