"""The fixtures of the console's tests, which share provisioned resources."""

from pathlib import Path

import pytest

from tests.support.shared_storage import (
    console,
    dynamodb,
    own_console,
    own_storage,
    provisioned,
    run_on_the_loop_of_the_session,
    s3,
    shared_storage,
    sqs,
    storage,
)

__all__ = [
    "console",
    "dynamodb",
    "own_console",
    "own_storage",
    "provisioned",
    "s3",
    "shared_storage",
    "sqs",
    "storage",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    run_on_the_loop_of_the_session(items, Path(__file__).parent)
