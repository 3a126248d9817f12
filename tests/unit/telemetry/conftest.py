"""What the tests of the telemetry share."""

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def _unconfigured_logs() -> Iterator[None]:
    """Leave the logs as they were, whatever the test configures."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
