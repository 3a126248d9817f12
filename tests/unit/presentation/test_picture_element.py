"""The `<picture>` element of an image, from its record."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from tests.support.image_states import claimed, completed
from worker.domain.image import Image, Rendition
from worker.domain.printable import printable
from worker.domain.status import StepName
from worker.domain.step import Json
from worker.presentation.picture_element import picture_element

CDN = "https://images.example.com"
BLUR_HASH = "LVFs3t%LD*t7~pt7M|ofD*WCofWC"


class Tags(HTMLParser):
    """The start tags of an HTML text, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data.strip()


def rendition(name: str, width: int, height: int, kind: str = "jpeg") -> Rendition:
    return Rendition(
        key=f"processed/alice/{name}", width=width, height=height, size_bytes=1, format=kind, e_tag="e"
    )


def an_image(
    *renditions: Rendition, mode: str = "RGB", metadata: Mapping[str, str] | None = None, **detail: Json
) -> Image:
    """Return a completed image with these renditions, the main one first."""
    image = completed()
    steps = dict(image.steps)
    steps[StepName.VALIDATION] = replace(steps[StepName.VALIDATION], detail={"mode": mode})
    steps[StepName.RESIZE] = replace(steps[StepName.RESIZE], detail=detail)
    return replace(
        image,
        steps=steps,
        metadata=metadata or {},
        renditions={str(number): each for number, each in enumerate(renditions)},
        processed_key=renditions[0].key,
    )


def tags_of(image: Image, **options: Any) -> list[tuple[str, dict[str, str | None]]]:
    element = picture_element(image, base_url=CDN, **options)
    assert element is not None
    tags = Tags(element)
    assert (tags.found[0], tags.text) == (("picture", {}), "")
    assert element.endswith("</picture>")
    return tags.found[1:]


def test_one_rendition_has_its_dimensions_and_no_srcset() -> None:
    ((name, attributes),) = tags_of(an_image(rendition("a.jpg", 800, 450)), alt="A lake")
    assert (name, attributes) == (
        "img",
        {
            "src": f"{CDN}/processed/alice/a.jpg",
            "width": "800",
            "height": "450",
            "alt": "A lake",
            "loading": "lazy",
            "decoding": "async",
        },
    )


def test_sizes_in_several_formats_are_sources_with_the_smaller_format_first() -> None:
    image = an_image(
        rendition("a.jpg", 800, 600),
        rendition("a@small.jpg", 400, 300),
        rendition("a@card.webp", 600, 450, "webp"),
        rendition("a@large.avif", 1920, 1440, "avif"),
    )
    sizes = "(max-width: 1920px) 100vw, 1920px"
    first, second, (name, img) = tags_of(image)
    assert first == (
        "source",
        {"type": "image/avif", "srcset": f"{CDN}/processed/alice/a%40large.avif 1920w", "sizes": sizes},
    )
    assert second[1]["type"] == "image/webp"
    assert name == "img"
    assert img["src"] == f"{CDN}/processed/alice/a.jpg"
    assert img["srcset"] == (f"{CDN}/processed/alice/a%40small.jpg 400w, {CDN}/processed/alice/a.jpg 800w")
    assert (img["sizes"], img["width"], img["height"]) == (sizes, "800", "600")


def test_a_rendition_of_another_shape_is_not_a_candidate() -> None:
    image = an_image(
        rendition("a.jpg", 800, 533), rendition("a@s.jpg", 400, 267), rendition("a@square.jpg", 150, 150)
    )
    ((_, img),) = tags_of(image)
    assert "square" not in str(img["srcset"])
    assert "a%40s.jpg 400w" in str(img["srcset"])


def test_a_tiny_rendition_of_the_same_shape_is_a_candidate() -> None:
    image = an_image(rendition("a.jpg", 800, 533), rendition("a@dot.jpg", 3, 2))
    ((_, img),) = tags_of(image)
    assert "a%40dot.jpg 3w" in str(img["srcset"])


def test_the_image_has_a_format_that_every_browser_shows_if_there_is_one() -> None:
    image = an_image(rendition("a.webp", 800, 600, "webp"), rendition("a@small.jpg", 400, 300))
    (source, attributes), (_, img) = tags_of(image)
    assert (source, attributes["type"]) == ("source", "image/webp")
    assert img["src"] == f"{CDN}/processed/alice/a%40small.jpg"
    assert (img["width"], img["height"]) == ("800", "600"), "of the main rendition, for the same layout"
    only = an_image(rendition("a.webp", 800, 600, "webp"))
    assert [name for name, _ in tags_of(only)] == ["img"]


def test_the_blur_hash_is_shown_until_the_image_has_loaded() -> None:
    image = an_image(rendition("a.jpg", 800, 600), dominantColor="#929785", blurHash=BLUR_HASH)
    ((_, img),) = tags_of(image)
    style = str(img["style"])
    assert style.startswith("background: #929785 url(data:image/png;base64,")
    png = base64.b64decode(style.partition("base64,")[2].partition(")")[0])
    assert png.startswith(b"\x89PNG")


def test_nothing_is_shown_through_a_transparent_image() -> None:
    for mode, kind, is_shown in (
        ("RGBA", "png", False),
        ("P", "webp", False),
        ("RGB", "webp", True),
        ("RGBA", "jpeg", True),
    ):
        image = an_image(rendition(f"a.{kind}", 800, 600, kind), mode=mode, blurHash=BLUR_HASH)
        ((_, img),) = tags_of(image)
        assert ("style" in img) is is_shown, (mode, kind)


def test_a_damaged_placeholder_is_left_out() -> None:
    image = an_image(rendition("a.jpg", 800, 600), dominantColor="red;x", blurHash="<script>")
    ((_, img),) = tags_of(image)
    assert "style" not in img


def test_the_description_is_the_alternative_text() -> None:
    image = an_image(rendition("a.jpg", 8, 6), metadata={"description": 'Tom & "Jerry" <b>\x1b[31m'})
    ((_, img),) = tags_of(image)
    assert img["alt"] == 'Tom & "Jerry" <b>\N{REPLACEMENT CHARACTER}[31m'
    assert tags_of(image, alt="")[0][1]["alt"] == ""


def test_an_image_without_renditions_has_no_element() -> None:
    assert picture_element(claimed(), base_url=CDN) is None


NAMES = st.text(min_size=1, max_size=40)


@given(NAMES, NAMES, st.text())
def test_keys_and_texts_never_leave_their_attributes(first: str, second: str, alt: str) -> None:
    image = an_image(rendition(first, 800, 600), rendition(f"{second}@s", 400, 300))
    ((_, img),) = tags_of(image, alt=alt)
    assert str(img["alt"]) == printable(alt)
    assert unquote(urlsplit(str(img["src"])).path) == f"/processed/alice/{first}"
    candidates = [candidate.split(" ") for candidate in str(img["srcset"]).split(", ")]
    assert [width for _, width in candidates] == ["400w", "800w"]
    assert [unquote(url) for url, _ in candidates] == [
        f"{CDN}/processed/alice/{second}@s",
        f"{CDN}/processed/alice/{first}",
    ]
