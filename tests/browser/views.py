"""The views of the console: a page of each, and what it has to show."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tests.browser.stack import HOSTILE_USER, OTHER_USERS, PICTURED_USER, USER


@dataclass(frozen=True, slots=True)
class View:
    """
    A page of a view.

    Attributes:
        name: Name of the page, and of its screenshots.
        route: Name of the route.
        path: Path of the page, without the prefix.
        content: Texts that the page has, also without JavaScript.
        has_picture: Whether docs/console.md shows it.
    """

    name: str
    route: str
    path: str
    content: tuple[str, ...]
    has_picture: bool = False


def image_path(image_id: str, user_id: str = USER) -> str:
    """Return the path of an image's page."""
    return f"/images/{quote(image_id, safe='')}?user={quote(user_id, safe='')}"


def similar_path(image_id: str) -> str:
    """Return the path of the page with the images that are similar to one."""
    return image_path(image_id).replace("?", "/similar?")


def user_path(user_id: str) -> str:
    """Return the path of a user's page."""
    return f"/users/{quote(user_id, safe='')}"


VIEWS: Final = (
    View("try", "upload", "/try", ("user",)),
    View(
        "try-watched",
        "upload",
        f"/try?user={USER}&images=mountains-at-dawn,broken-on-purpose",
        ("mountains-at-dawn.jpg", "watermarked", "upload it again"),
        has_picture=True,
    ),
    View("images", "images", "/images", ("mountains-at-dawn", "completed", "failed"), has_picture=True),
    View("images-failed", "images", "/images?status=failed", ("broken-on-purpose",)),
    View("images-of-user", "images", f"/images?user={USER}", ("tulips",)),
    View(
        "image",
        "image",
        image_path("mountains-at-dawn"),
        ("mountains-at-dawn", "watermark", "boto3"),
        has_picture=True,
    ),
    View("image-failed", "image", image_path("broken-on-purpose"), ("truncated", "upload it again")),
    View(
        "image-second-attempt",
        "image",
        image_path("killed-worker"),
        ("killed-worker", "lease expired"),
        has_picture=True,
    ),
    View("image-hostile", "image", image_path("photo", HOSTILE_USER), ("<script>alert",)),
    View(
        "similar",
        "similar",
        similar_path("forest-from-a-phone") + "&distance=40",
        ("Similar images", "newest 1,000", "bits differ"),
        has_picture=True,
    ),
    View("similar-failed", "similar", similar_path("broken-on-purpose"), ("No perceptual hash",)),
    View("search", "search", "/search?q=incomplete", OTHER_USERS, has_picture=True),
    View("search-nothing", "search", "/search?q=no-such-image", ("no-such-image",)),
    View("users", "users", "/users", ("user",), has_picture=True),
    View("user", "user", user_path(USER), (USER, "mountains-at-dawn")),
    View("user-gallery", "user", user_path(PICTURED_USER), ("tulips",), has_picture=True),
    View("user-hostile", "user", user_path(HOSTILE_USER), ("<img src=x",)),
    View("failures", "failures", "/failures", ("truncated", "format_not_allowed"), has_picture=True),
    View("failure", "failure", "/failures/truncated", ("truncated", "upload it again"), has_picture=True),
    View("dead-letters", "dead-letters", "/dead-letters", ("dead",), has_picture=True),
    View("queue", "queue", "/queue", ("in flight",), has_picture=True),
    View("preview", "preview", "/preview", ("quality",)),
    View(
        "preview-rendered",
        "preview",
        f"/preview?image={USER}%2Fmountains-at-dawn&quality=40&count=yes",
        ("WORKER_QUALITY=40", "newest 1,000 completed images"),
        has_picture=True,
    ),
    View("preview-invalid", "preview", "/preview?width=wide", ("write a number from 1 to 4,096",)),
    View("operations", "operations", "/operations", ("truncated",), has_picture=True),
    View("operation", "operation", "/operations/OPERATION", ("Retry 5", "Discard"), has_picture=True),
    View("checks", "checks", "/checks", ("check",), has_picture=True),
)
"""A page of every view, with and without entries."""
