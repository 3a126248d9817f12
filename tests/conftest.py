"""Fixtures for all tests: isolation from the AWS configuration of the machine, and the emulators."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest
import structlog

from tests.support.service_models import read_service_models_once
from worker.local.embedded_aws import EMBEDDED_CREDENTIALS
from worker.settings import Settings

pytest_plugins = [
    "tests.support.emulators",
    "tests.support.console",
    "tests.support.recorded_calls",
    "tests.support.state_changes",
]

read_service_models_once()

ISOLATED_PREFIXES = ("AWS_", "WORKER_")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Restore SIGINT for processes that tests start: shells ignore it in background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _isolated_from_this_machine() -> Iterator[None]:
    """Remove credentials, profiles, endpoints and `.env` files of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(ISOLATED_PREFIXES):
                patch.delenv(name)
        patch.delenv("COLUMNS", raising=False)  # set by terminals and pytest-xdist
        patch.setenv("AWS_ACCESS_KEY_ID", EMBEDDED_CREDENTIALS["aws_access_key_id"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", EMBEDDED_CREDENTIALS["aws_secret_access_key"])
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setitem(Settings.model_config, "env_file", None)
        yield


@pytest.fixture
def _unconfigured_logs() -> Iterator[None]:
    """Restore the logging configuration after the test."""

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
