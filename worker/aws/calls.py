"""Wrap the operations of an AWS client."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Client: TypeAlias = Any
"""A client of any service; the stubs have no common base class."""

Output: TypeAlias = Any
"""The output of any operation."""

Call: TypeAlias = Callable[..., Awaitable[Output]]
"""A client's method for an operation; takes the operation's parameters by name."""


def wrap_calls(client: Client, wrap: Callable[[str, Call], Call]) -> None:
    """
    Replace the client's method for each operation. Paginators and waiters call these methods too.

    Unlike botocore's events, a wrapper also sees the end of a call that is cancelled.

    Args:
        client: Client of any service.
        wrap: Takes the name of an operation (`UpdateItem`) and its method; returns the replacement.
    """
    for method, operation in client.meta.method_to_api_mapping.items():
        setattr(client, method, wrap(operation, getattr(client, method)))
