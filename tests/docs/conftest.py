"""The fork server, as in the acceptance tests."""

from tests.acceptance.conftest import fork_server

__all__ = ["fork_server"]
