"""Who sends a request to the console, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from aiohttp import web

_MAX_NAME_LENGTH: Final = 256


class Role(StrEnum):
    """What a user of the console may do."""

    VIEWER = "viewer"
    """Read everything."""
    OPERATOR = "operator"
    """Read everything, and act on images."""


@dataclass(frozen=True, slots=True)
class Identity:
    """
    An authenticated user.

    Attributes:
        name: Name for the history of images and for logs: on one line, printable, at most 256 characters.
        role: What the user may do.
    """

    name: str
    role: Role

    @property
    def is_operator(self) -> bool:
        """Whether the user may act on images."""
        return self.role is Role.OPERATOR


IDENTITY: Final = web.RequestKey("identity", Identity)
"""The user of a request; absent on routes that need no authentication."""


class Authentication(Protocol):
    """Finds out who sends a request."""

    hint: str
    """A sentence about what is wrong, and one about what to do, for the page of status 401."""

    async def identify(self, request: web.Request) -> Identity | None:
        """
        Return the user who sends a request; None if the request does not prove it.

        Raises:
            web.HTTPException: The proof cannot be verified at present.
        """

    async def close(self) -> None:
        """Close what the authentication has opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """
    The users who are operators; all others are viewers.

    Attributes:
        names: Names of users, compared exactly.
        groups: Names of groups, compared exactly.
    """

    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def identity(self, name: str, groups: frozenset[str] = frozenset()) -> Identity | None:
        """Return the identity of a user in groups; None if the name is not on one line and printable."""
        if not name or len(name) > _MAX_NAME_LENGTH or not name.isprintable() or name != name.strip():
            return None
        is_operator = name in self.names or not self.groups.isdisjoint(groups)
        return Identity(name, Role.OPERATOR if is_operator else Role.VIEWER)


def identity_of(request: web.Request) -> Identity | None:
    """Return the user of a request; None on routes that need no authentication."""
    return request.get(IDENTITY)


def is_operator(request: web.Request) -> bool:
    """Return whether the user of a request may act on images."""
    identity = identity_of(request)
    return identity is not None and identity.is_operator
