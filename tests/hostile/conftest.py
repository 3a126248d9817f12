"""The fixtures of `image-worker` as a process, as in the acceptance tests."""

from tests.acceptance.conftest import command, fork_server, with_resources

__all__ = ["command", "fork_server", "with_resources"]
