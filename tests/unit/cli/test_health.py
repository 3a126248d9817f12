"""Where a container's health check asks."""

import pytest

from worker.cli.health import _reachable


@pytest.mark.parametrize(
    ("listened_at", "asked"),
    [
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - what is asked about
        ("::", "[::1]"),
        ("10.0.0.7", "10.0.0.7"),
        ("fd00::7", "[fd00::7]"),
        ("localhost", "localhost"),
    ],
)
def test_an_address_that_stands_for_the_whole_machine_is_asked_on_this_one(
    listened_at: str, asked: str
) -> None:
    assert _reachable(listened_at) == asked
