"""Peers in Python: Celery and a thread pool, run in their own virtual environment."""
