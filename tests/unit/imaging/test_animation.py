"""Frames: the first, all of them, or none."""

import io

import pytest
from PIL import Image, ImageSequence

from tests.support.pictures import animation, noise
from worker.domain.errors import RejectedError, TooManyFramesError
from worker.domain.recipe import Animation, Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.step import EncodedRendition
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.settings import FONT

FONTS = Fonts((FONT.read_bytes(),))
SIZE = Size("small", 100, 100)


def made(
    content: bytes, *, keep: Animation = Animation.KEEP, size: Size = SIZE, mark: str | None = None
) -> EncodedRendition:
    recipe = Recipe(sizes=(size,), watermark=Watermark(mark) if mark else None, animation=keep)
    outcomes = process(content, recipe, limits=Limits(), fonts=FONTS)
    return next(outcome for outcome in outcomes if isinstance(outcome, EncodedRendition))


def film(image_format: str, *, loop: int = 3, size: tuple[int, int] = (200, 150)) -> bytes:
    colours = ("#cc2222", "#22cc22", "#2222cc")
    first, *others = (Image.new("RGB", size, colour) for colour in colours)
    file = io.BytesIO()
    first.save(file, image_format, save_all=True, append_images=others, duration=[100, 250, 400], loop=loop)
    return file.getvalue()


def frames_of(rendition: EncodedRendition) -> list[tuple[tuple[int, int, int], int]]:
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    found = []
    for frame in ImageSequence.Iterator(image):
        shown = frame.convert("RGB")
        found.append((shown.getpixel((5, 5)), int(image.info["duration"])))
    return found  # type: ignore[return-value] - the pixels are of RGB


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_every_frame_is_kept_with_its_colour_its_delay_and_the_loop(image_format: str) -> None:
    rendition = made(film(image_format))
    assert (rendition.format, rendition.width, rendition.height) == (image_format.lower(), 100, 75)
    colours, delays = zip(*frames_of(rendition), strict=True)
    for found, expected in zip(colours, ((204, 34, 34), (34, 204, 34), (34, 34, 204)), strict=True):
        assert all(abs(a - b) < 12 for a, b in zip(found, expected, strict=True))
    assert delays == (100, 250, 400)
    assert Image.open(io.BytesIO(bytes(rendition.content))).info["loop"] == 3


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_every_kept_frame_is_marked(image_format: str) -> None:
    content = film(image_format, size=(600, 450))
    rendition = made(content, size=Size("medium", 600, 600), mark="Ours and nobody else's")
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    for frame in ImageSequence.Iterator(image):
        corner = frame.convert("L").crop((300, 380, 600, 450))
        low, high = corner.getextrema()
        assert isinstance(low, int)
        assert high - low > 40


def test_by_default_the_first_frame_is_taken() -> None:
    rendition = made(film("WEBP"), keep=Animation.FIRST)
    assert getattr(Image.open(io.BytesIO(bytes(rendition.content))), "n_frames", 1) == 1


@pytest.mark.parametrize("wanted", [OutputFormat.JPEG, OutputFormat.PNG])
def test_a_still_format_takes_the_first_frame(wanted: OutputFormat) -> None:
    rendition = made(film("GIF"), size=Size("small", 100, 100, format=wanted))
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    assert (rendition.format, getattr(image, "n_frames", 1)) == (wanted.value, 1)


def test_a_gif_may_become_an_animated_webp() -> None:
    rendition = made(film("GIF"), size=Size("small", 100, 100, format=OutputFormat.WEBP))
    assert len(frames_of(rendition)) == 3


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_can_be_refused(image_format: str) -> None:
    with pytest.raises(TooManyFramesError) as refused:
        made(animation(image_format, frames=2), keep=Animation.REJECT)
    assert refused.value.limit == 1


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_a_still_picture_is_no_animation(image_format: str) -> None:
    content = animation(image_format, frames=1)
    assert made(content, keep=Animation.REJECT).width == 40
    assert made(content, keep=Animation.KEEP).width == 40


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_a_further_frame_that_is_cut_off_is_found_in_validation(image_format: str) -> None:
    content = animation(image_format, frames=4)
    with pytest.raises(RejectedError) as refused:
        made(content[: int(len(content) * 0.9)])
    assert refused.value.code in {"truncated", "corrupt"}


def test_transparent_frames_stay_transparent() -> None:
    first, second = Image.new("RGBA", (100, 100)), Image.new("RGBA", (100, 100))
    first.paste(noise(40, 40, mode="RGB"), (0, 0))
    second.paste(noise(40, 40, mode="RGB"), (60, 60))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second], duration=50, disposal=2)
    rendition = made(file.getvalue())
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    image.seek(1)
    shown = image.convert("RGBA")
    assert shown.getpixel((10, 10))[3] == 0  # type: ignore[index]
    assert shown.getpixel((80, 80))[3] == 255  # type: ignore[index]
