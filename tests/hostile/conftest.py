"""The fixtures of `image-worker` as a process, as in the acceptance tests."""

from tests.acceptance.conftest import command, with_resources

__all__ = ["command", "with_resources"]
