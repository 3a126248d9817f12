"""Animations: keep the first frame or all of them, or reject the image."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from tests.support.pictures import animation, encoded, extrema, noise, opened, pixel
from worker.decoder_pool.rendition_files import check_rendition_file
from worker.domain.errors import RejectedError, TooManyFramesError
from worker.domain.recipe import Animation, Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.step import EncodedRendition
from worker.imaging.avif import plays
from worker.imaging.encode import encode
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Picture, TimedImage
from worker.imaging.pipeline import process
from worker.s3.nonce import with_nonce
from worker.settings import FONT

FONTS = Fonts((FONT.read_bytes(),))
SIZE = Size("small", 100, 100)


def rendition_of(
    content: bytes, *, keep: Animation = Animation.KEEP, size: Size = SIZE, mark: str | None = None
) -> EncodedRendition:
    recipe = Recipe(sizes=(size,), watermark=Watermark(mark) if mark else None, animation=keep)
    outputs = process(content, recipe, limits=Limits(), fonts=FONTS)
    return next(output for output in outputs if isinstance(output, EncodedRendition))


def animated(image_format: str, *, loop: int = 3, size: tuple[int, int] = (200, 150)) -> bytes:
    colours = ("#cc2222", "#22cc22", "#2222cc")
    first, *others = (Image.new("RGB", size, colour) for colour in colours)
    file = io.BytesIO()
    options = {"blend": 0, "disposal": 0} if image_format == "PNG" else {}
    first.save(
        file,
        image_format,
        save_all=True,
        append_images=others,
        duration=[100, 250, 400],
        loop=loop,
        **options,
    )
    return file.getvalue()


ANIMATED_AVIF = animated("AVIF", size=(16, 12))


def frames_of(rendition: EncodedRendition) -> list[tuple[tuple[int, ...], int]]:
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    frames = []
    for frame in ImageSequence.Iterator(image):
        pixel = frame.convert("RGB").getpixel((5, 5))
        assert isinstance(pixel, tuple)
        frames.append((pixel, int(image.info["duration"])))
    return frames


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_keep_preserves_every_frame_with_its_colour_and_delay_and_the_loop_count(image_format: str) -> None:
    rendition = rendition_of(animated(image_format))
    assert (rendition.format, rendition.width, rendition.height) == (image_format.lower(), 100, 75)
    colours, delays = zip(*frames_of(rendition), strict=True)
    for colour, expected in zip(colours, ((204, 34, 34), (34, 204, 34), (34, 34, 204)), strict=True):
        assert all(abs(a - b) < 12 for a, b in zip(colour, expected, strict=True))
    assert delays == (100, 250, 400)
    assert Image.open(io.BytesIO(bytes(rendition.content))).info["loop"] == 3


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize(
    "wanted", [OutputFormat.WEBP, OutputFormat.PNG, OutputFormat.AVIF, OutputFormat.AUTO]
)
def test_every_animation_is_kept_in_every_format_that_can(source: str, wanted: OutputFormat) -> None:
    rendition = rendition_of(animated(source), size=Size("small", 100, 100, format=wanted))
    colours, delays = zip(*frames_of(rendition), strict=True)
    for colour, expected in zip(colours, ((204, 34, 34), (34, 204, 34), (34, 34, 204)), strict=True):
        assert all(abs(a - b) < 12 for a, b in zip(colour, expected, strict=True))
    assert delays == (100, 250, 400)
    check_rendition_file(bytes(rendition.content), image_format=rendition.format, extent=(100, 75))
    assert len(frames_of(replace(rendition, content=with_nonce(rendition, b"0123456789abcdef")))) == 3


def test_an_animated_avif_is_kept_and_played_forever() -> None:
    rendition = rendition_of(animated("AVIF"))
    assert (rendition.format, [delay for _, delay in frames_of(rendition)]) == ("avif", [100, 250, 400])
    webp = rendition_of(animated("AVIF"), size=Size("small", 100, 100, format=OutputFormat.WEBP))
    assert Image.open(io.BytesIO(bytes(webp.content))).info["loop"] == 0


@pytest.mark.parametrize("loop", [1, 2, 7, 0])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_avif_is_played_as_often_as_the_animation_that_it_is_made_of(mode: str, loop: int) -> None:
    first, second = Image.new(mode, (60, 40), "#cc2222"), Image.new(mode, (60, 40), "#22cc2240")
    content = encoded(first, "PNG", save_all=True, append_images=[second], duration=50, loop=loop)
    as_avif, as_webp = (Size("s", 60, 40, format=each) for each in (OutputFormat.AVIF, OutputFormat.WEBP))
    avif = bytes(rendition_of(content, size=as_avif).content)
    assert plays(avif) == loop
    webp = rendition_of(avif, size=as_webp)
    assert Image.open(io.BytesIO(bytes(webp.content))).info["loop"] == loop
    assert [delay for _, delay in frames_of(webp)] == [50, 50]


def test_an_animation_that_is_larger_than_is_accepted_is_rejected_with_its_frames() -> None:
    first, *others = (noise(200, 200, mode="RGBA", seed=seed) for seed in range(10))
    picture = Picture("tiny", first, "png", frames=tuple(TimedImage(image, 50) for image in others))
    tiny = Size("tiny", 10, 10)  # what is accepted depends on the size, up to 128 MiB
    with pytest.raises(TooManyFramesError) as rejected:
        encode(picture, size=tiny, quality=82)
    assert (rejected.value.frames, rejected.value.limit) == (10, 4)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_the_plays_of_a_damaged_avif_are_a_number(at: int, value: int) -> None:
    changed = bytearray(ANIMATED_AVIF)
    changed[at % len(changed)] = value
    assert plays(bytes(changed)) >= 0
    assert plays(bytes(changed[: at % len(changed)])) >= 0


def test_an_avif_of_opaque_and_transparent_frames_is_transparent() -> None:
    first, second = Image.new("RGBA", (60, 40), "#cc2222"), Image.new("RGBA", (60, 40), "#22cc2240")
    content = encoded(first, "WEBP", save_all=True, append_images=[second], duration=50, lossless=True)
    rendition = rendition_of(content, size=Size("small", 60, 40, format=OutputFormat.AVIF))
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    image.seek(1)
    assert abs(pixel(image, (20, 20))[3] - 64) < 8


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_every_kept_frame_has_the_watermark(image_format: str) -> None:
    content = animated(image_format, size=(600, 450))
    rendition = rendition_of(content, size=Size("medium", 600, 600), mark="Processed by Image Platform")
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    for frame in ImageSequence.Iterator(image):
        corner = frame.convert("L").crop((300, 380, 600, 450))
        low, high = extrema(corner)
        assert high - low > 40


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_first_makes_a_still_image(image_format: str) -> None:
    rendition = rendition_of(animated(image_format), keep=Animation.FIRST)
    assert pixel(opened(rendition.content).convert("RGB"), (5, 5)) == pytest.approx((204, 34, 34), abs=12)
    assert getattr(Image.open(io.BytesIO(bytes(rendition.content))), "n_frames", 1) == 1


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "AVIF"])
def test_a_jpeg_has_only_the_first_frame(image_format: str) -> None:
    size = Size("small", 100, 100, format=OutputFormat.JPEG)
    rendition = rendition_of(animated(image_format), size=size)
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    assert (rendition.format, getattr(image, "n_frames", 1)) == ("jpeg", 1)


def test_an_animated_gif_can_become_an_animated_webp() -> None:
    rendition = rendition_of(animated("GIF"), size=Size("small", 100, 100, format=OutputFormat.WEBP))
    assert len(frames_of(rendition)) == 3


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_reject_fails_an_animation(image_format: str) -> None:
    with pytest.raises(TooManyFramesError) as rejected:
        rendition_of(animation(image_format, frames=2), keep=Animation.REJECT)
    assert rejected.value.limit == 1


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_a_still_image_is_not_rejected_as_an_animation(image_format: str) -> None:
    content = animation(image_format, frames=1)
    assert rendition_of(content, keep=Animation.REJECT).width == 40
    assert rendition_of(content, keep=Animation.KEEP).width == 40


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_a_truncated_later_frame_is_rejected(image_format: str) -> None:
    content = animation(image_format, frames=4)
    with pytest.raises(RejectedError) as rejected:
        rendition_of(content[: int(len(content) * 0.9)])
    assert rejected.value.code in {"truncated", "corrupt"}


def test_transparent_frames_stay_transparent() -> None:
    first, second = Image.new("RGBA", (100, 100)), Image.new("RGBA", (100, 100))
    first.paste(noise(40, 40, mode="RGB"), (0, 0))
    second.paste(noise(40, 40, mode="RGB"), (60, 60))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=[second], duration=50, disposal=2)
    rendition = rendition_of(file.getvalue())
    image = Image.open(io.BytesIO(bytes(rendition.content)))
    image.seek(1)
    alpha = image.convert("RGBA").getchannel("A")
    assert (alpha.getpixel((10, 10)), alpha.getpixel((80, 80))) == (0, 255)
