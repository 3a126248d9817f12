"""The links to the views, in the header of every page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from worker.console.urls import url


@dataclass(frozen=True, slots=True)
class Link:
    """
    A link of the navigation.

    Attributes:
        route: Name of the route.
        label: Text of the link.
        key: The key that opens it after `g`.
        children: Names of the routes whose pages belong to the link as well.
    """

    route: str
    label: str
    key: str
    children: tuple[str, ...] = ()


LINKS: Final = (
    Link("upload", "Try", "t"),
    Link("images", "Images", "i", ("image", "similar", "search")),
    Link("users", "Users", "u", ("user",)),
    Link("failures", "Failures", "f", ("failure",)),
    Link("dead-letters", "Dead letters", "d"),
    Link("queue", "Queue", "q"),
    Link("preview", "Preview", "p"),
    Link("operations", "Operations", "o", ("operation",)),
    Link("checks", "Checks", "c"),
)


def navigation(app: web.Application, route: str | None) -> Iterator[dict[str, str | bool]]:
    """Return each link with its URL, and whether it is that of the current page, by the name of its route."""
    for link in LINKS:
        yield {
            "url": url(app, link.route),
            "label": link.label,
            "key": link.key,
            "isCurrent": route in (link.route, *link.children),
        }
