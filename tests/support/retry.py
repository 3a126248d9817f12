"""Retry policies for tests."""

from typing import Final

from worker.aws.retry import RetryPolicy

NO_WAIT: Final = RetryPolicy(attempts=6, timeout_s=60, attempt_timeout_s=60, wait_initial_s=0)
"""Retries at once."""
