"""Frames of a GIF are composed as browsers do."""

import io

import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.gifs import PALETTE, Frame, gif
from tests.support.pictures import encoded, pixel
from worker.domain.recipe import Animation, Limits, OutputFormat, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.fonts import Fonts
from worker.imaging.gif import GifFile
from worker.imaging.pipeline import process

SIDE = 24
CLEAR = (0, 0, 0, 0)
FIRST = Frame(0, 0, SIDE, SIDE, index=0)


def colour(index: int) -> tuple[int, ...]:
    return (*PALETTE[index], 255)


def frames_of(content: bytes, *, frames: int) -> list[Image.Image]:
    """Return the composed frames as RGBA."""
    image = GifFile(io.BytesIO(content))
    found = []
    for number in range(frames):
        image.seek(number)
        image.load()
        found.append(image.convert("RGBA"))
    return found


def converted(content: bytes, wanted: OutputFormat = OutputFormat.SOURCE) -> Image.Image:
    recipe = Recipe(sizes=(Size("small", 200, 200, format=wanted),), watermark=None, animation=Animation.KEEP)
    outputs = process(content, recipe, limits=Limits(), fonts=Fonts(()))
    rendition = next(output for output in outputs if isinstance(output, EncodedRendition))
    return Image.open(io.BytesIO(bytes(rendition.content)))


@pytest.mark.parametrize("transparent", [None, 3])
def test_the_canvas_around_a_smaller_first_frame_is_transparent(transparent: int | None) -> None:
    content = gif(SIDE, SIDE, Frame(4, 6, 10, 8, transparent=transparent))
    image = converted(content).convert("RGBA")

    assert image.size == (SIDE, SIDE)
    assert (pixel(image, (3, 7)), pixel(image, (14, 7)), pixel(image, (5, 14))) == (CLEAR,) * 3
    assert (pixel(image, (4, 6)), pixel(image, (13, 13))) == (colour(1),) * 2


def test_an_opaque_first_frame_that_covers_the_canvas_is_opaque() -> None:
    assert converted(gif(SIDE, SIDE, FIRST)).convert("RGBA").getpixel((5, 5)) == colour(0)


@pytest.mark.parametrize(
    ("disposal", "expected"),
    [(0, colour(1)), (1, colour(1)), (2, CLEAR), (3, colour(0)), (4, colour(0)), (5, colour(1))],
)
def test_a_frame_is_disposed_of_before_the_next_one(disposal: int, expected: tuple[int, ...]) -> None:
    content = gif(
        SIDE, SIDE, FIRST, Frame(2, 2, 8, 8, index=1, disposal=disposal), Frame(12, 12, 8, 8, index=2)
    )
    last = frames_of(content, frames=3)[2]

    assert (pixel(last, (4, 4)), pixel(last, (14, 14)), pixel(last, (0, 0))) == (
        expected,
        colour(2),
        colour(0),
    )


def test_the_disposal_of_a_frame_does_not_apply_to_the_frames_after_it() -> None:
    content = gif(
        SIDE,
        SIDE,
        FIRST,
        Frame(2, 2, 4, 4, index=1, disposal=2),
        Frame(10, 2, 4, 4, index=2, disposal=0),
        Frame(2, 10, 4, 4, index=3),
    )
    last = frames_of(content, frames=4)[3]

    assert (pixel(last, (3, 3)), pixel(last, (11, 3)), pixel(last, (3, 11))) == (CLEAR, colour(2), colour(3))


def test_a_first_frame_to_restore_leaves_an_empty_canvas() -> None:
    content = gif(SIDE, SIDE, Frame(0, 0, SIDE, SIDE, index=1, disposal=3), Frame(2, 2, 4, 4, index=2))
    last = frames_of(content, frames=2)[1]

    assert (pixel(last, (3, 3)), pixel(last, (10, 10))) == (colour(2), CLEAR)


def test_a_first_frame_beyond_the_canvas_enlarges_it_and_a_later_one_is_clipped() -> None:
    content = gif(SIDE, SIDE, Frame(0, 0, 30, 28), Frame(20, 20, 40, 40, index=2))
    first, second = frames_of(content, frames=2)

    assert first.size == second.size == (30, 28)
    assert (pixel(second, (29, 27)), pixel(second, (5, 5))) == (colour(2), colour(1))


def test_frames_can_be_read_again_from_the_first() -> None:
    content = gif(SIDE, SIDE, FIRST, Frame(2, 2, 8, 8, disposal=2), Frame(12, 12, 8, 8, index=2))
    image = GifFile(io.BytesIO(content))
    passes = []
    for _ in range(2):
        for number in range(3):
            image.seek(number)
            image.load()
            passes.append(image.convert("RGBA").tobytes())
    assert passes[:3] == passes[3:]


_SIDES = st.integers(0, SIDE - 1)


@st.composite
def _frames(draw: st.DrawFn) -> Frame:
    left, top = draw(_SIDES), draw(_SIDES)
    width, height = draw(st.integers(1, SIDE - left)), draw(st.integers(1, SIDE - top))
    disposal = draw(st.sampled_from([0, 1, 2, 3]))
    # libvips disposes of a frame without a transparent index to a background colour, which browsers do not.
    transparent = draw(st.sampled_from([0, 2] if disposal == 2 else [None, 0, 2]))
    return Frame(
        left,
        top,
        width,
        height,
        transparent=transparent,
        disposal=disposal,
        pixels=bytes(draw(st.lists(st.integers(0, 4), min_size=width * height, max_size=width * height))),
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(_frames(), min_size=1, max_size=4))
def test_every_frame_is_composed_as_libvips_composes_it(frames: list[Frame]) -> None:
    frames = [Frame(0, 0, SIDE, SIDE, index=3, transparent=1), *frames]  # libvips fills what no frame covers
    content = gif(SIDE, SIDE, *frames)
    reference = pyvips.Image.new_from_buffer(content, "", n=-1)
    if reference.bands == 3:
        reference = reference.bandjoin(255)
    rows = bytes(reference.write_to_memory())
    pages = [rows[at : at + SIDE * SIDE * 4] for at in range(0, len(rows), SIDE * SIDE * 4)]

    found = [_visible(frame.tobytes()) for frame in frames_of(content, frames=len(frames))]

    assert found == [_visible(page) for page in pages]


def _visible(rgba: bytes) -> list[bytes]:
    """Return the pixels, all transparent ones being equal."""
    return [rgba[at : at + 4] if rgba[at + 3] else bytes(4) for at in range(0, len(rgba), 4)]


@pytest.mark.parametrize(("repeats", "plays"), [(None, 1), (0, 0), (1, 2), (4, 5)])
@pytest.mark.parametrize("name", [b"NETSCAPE2.0", b"ANIMEXTS1.0"])
def test_the_repeats_of_a_gif_become_plays_of_a_webp(repeats: int | None, plays: int, name: bytes) -> None:
    content = gif(SIDE, SIDE, FIRST, Frame(2, 2, 8, 8), loop=repeats, loop_name=name)

    assert converted(content, OutputFormat.WEBP).info["loop"] == plays
    assert converted(content).info.get("loop") == repeats


@pytest.mark.parametrize("plays", [0, 1, 2, 5])
def test_the_plays_of_a_webp_are_kept(plays: int) -> None:
    first, second = (Image.new("RGB", (SIDE, SIDE), shade) for shade in ("#cc2222", "#22cc22"))
    content = encoded(first, "WEBP", save_all=True, append_images=[second], duration=50, loop=plays)

    assert converted(content).info["loop"] == plays


@pytest.mark.parametrize("cut", range(14, 500, 9))
def test_a_gif_cut_at_any_byte_has_the_frames_before_the_cut_or_an_error(cut: int) -> None:
    content = gif(SIDE, SIDE, FIRST, Frame(2, 2, 8, 8), loop=0)[: 13 + 384 + cut]
    try:
        (first,) = frames_of(content, frames=1)
    except (SyntaxError, OSError):
        return
    assert pixel(first, (SIDE - 1, SIDE - 1)) == colour(0)
