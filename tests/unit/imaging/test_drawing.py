"""Drawings, text and small images keep their colours; photographs keep their small files."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from bench.common.photographs import photograph
from tests.support.pictures import encoded, noise, opened
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.drawing import is_drawing, needs_full_chroma, with_palette
from worker.imaging.encode import encode
from worker.imaging.fonts import Fonts
from worker.imaging.headers import is_lossless_webp
from worker.imaging.picture import Picture
from worker.imaging.pipeline import process
from worker.settings import FONT

RED, BLUE, WHITE, YELLOW = (204, 0, 0), (0, 0, 255), (255, 255, 255), (255, 255, 0)


def board(
    side: int, *, colours: tuple[tuple[int, ...], tuple[int, ...]] = ((224, 96, 96), BLUE)
) -> Image.Image:
    """Return an image whose neighbouring pixels alternate between two colours."""
    first = np.indices((side, side)).sum(axis=0)[..., None] % 2 == 0
    return Image.fromarray(np.where(first, *(np.array(colour, np.uint8) for colour in colours)))


def text(colour: tuple[int, ...], background: tuple[int, ...], *, height_px: int = 16) -> Image.Image:
    image = Image.new("RGB", (800, 600), background)
    draw, font = ImageDraw.Draw(image), ImageFont.truetype(str(FONT), height_px)
    for y in range(10, 600 - height_px, int(height_px * 1.5)):
        draw.text((10, y), f"Line {y} of a page with words 0123456789", fill=colour, font=font)
    return image


def shapes() -> Image.Image:
    image = Image.new("RGB", (800, 600), (245, 245, 245))
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(("#e53935", "#43a047", "#fb8c00", "#8e24aa", "#00897b")):
        draw.rounded_rectangle((20 + 150 * number, 50, 150 + 150 * number, 500), 12, fill=colour)
    return image


@cache
def soft_photograph(seed: int) -> Image.Image:
    """Return a photograph as it comes from a camera: its colours have half the resolution."""
    stored = io.BytesIO()
    photograph(1600, 1200, seed=seed).save(stored, "JPEG", quality=90)
    return Image.open(stored).convert("RGB").resize((800, 600), Image.Resampling.LANCZOS)


def grey_photograph() -> Image.Image:
    return soft_photograph(4).convert("L").convert("RGB")


def rendition(
    image: Image.Image, source: str, wanted: OutputFormat = OutputFormat.SOURCE, quality: int = 90
) -> EncodedRendition:
    size = Size("large", 1000, 1000, format=wanted)
    return encode(Picture("large", image, source), size=size, quality=quality)


def processed(content: bytes, size: Size) -> bytes:
    outputs = process(content, Recipe(sizes=(size,), watermark=None), limits=Limits(), fonts=Fonts(()))
    return bytes(next(output.content for output in outputs if isinstance(output, EncodedRendition)))


def error(found: Image.Image, expected: Image.Image) -> int:
    """Return the largest difference of any sample."""
    pixels = (np.asarray(image.convert("RGBA")).astype(int) for image in (found, expected))
    return int(np.abs(next(pixels) - next(pixels)).max())


def caption(colour: tuple[int, ...], background: tuple[int, ...]) -> Image.Image:
    """Return an empty page with a single line of text."""
    image = Image.new("RGB", (800, 600), background)
    ImageDraw.Draw(image).text(
        (300, 310), "A single line", fill=colour, font=ImageFont.truetype(str(FONT), 16)
    )
    return image


DRAWINGS = {
    "caption": caption(RED, WHITE),
    "red text": text(RED, WHITE),
    "blue on yellow": text(BLUE, YELLOW, height_px=30),
    "scaled text": text(RED, WHITE, height_px=40).resize((400, 300), Image.Resampling.LANCZOS),
    "text as JPEG": Image.open(
        io.BytesIO(encoded(text(RED, WHITE), quality=85, subsampling="4:4:4"))
    ).convert("RGB"),
    "shapes": shapes(),
    "board": board(200),
    "small": noise(60, 60),
}


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("image_format", ["jpeg", "avif"])
def test_the_colours_of_a_drawing_are_stored_for_every_pixel(name: str, image_format: str) -> None:
    assert needs_full_chroma(DRAWINGS[name])
    content = bytes(rendition(DRAWINGS[name], "jpeg", OutputFormat(image_format)).content)
    if image_format == "jpeg":
        layers = Image.open(io.BytesIO(content)).layer  # type: ignore[attr-defined] # of the JPEG plugin
        assert layers[0][1:3] == (1, 1)
    assert (
        np.mean(np.abs(np.asarray(opened(content).convert("RGB")).astype(int) - np.asarray(DRAWINGS[name])))
        < 8
    )


@pytest.mark.parametrize("seed", [0, 1, 2, "grey"])
def test_the_colours_of_a_photograph_are_stored_at_half_the_resolution(seed: int | str) -> None:
    image = soft_photograph(seed) if isinstance(seed, int) else grey_photograph()
    assert not needs_full_chroma(image)
    assert not is_drawing(image)
    content = bytes(rendition(image, "jpeg").content)
    assert Image.open(io.BytesIO(content)).layer[0][1:3] == (2, 2)  # type: ignore[attr-defined] # see above


def test_black_text_needs_no_colours() -> None:
    assert not needs_full_chroma(text((0, 0, 0), WHITE))
    assert not needs_full_chroma(caption((0, 0, 0), WHITE))


@pytest.mark.parametrize("source", ["png", "bmp", "tiff", "gif", "webp"])
@pytest.mark.parametrize(
    "wanted", [OutputFormat.SOURCE, OutputFormat.WEBP, OutputFormat.PNG, OutputFormat.AUTO]
)
@pytest.mark.parametrize("side", [16, 90])
def test_a_small_drawing_keeps_its_exact_colours(source: str, wanted: OutputFormat, side: int) -> None:
    assert error(opened(rendition(board(side), source, wanted).content), board(side)) == 0


def test_a_small_drawing_as_jpeg_is_within_a_few_levels() -> None:
    found = rendition(board(16), "jpeg", OutputFormat.JPEG, quality=95)
    assert error(opened(found.content), board(16)) <= 8


@pytest.mark.parametrize("source", ["tiff", "bmp"])
def test_an_uncompressed_drawing_becomes_png_and_a_photograph_jpeg(source: str) -> None:
    assert rendition(shapes().quantize(16).convert("RGB"), source).format == "png"
    assert rendition(soft_photograph(0), source).format == "jpeg"
    assert rendition(grey_photograph(), source).format == "jpeg"


def test_auto_makes_a_jpeg_of_a_grey_photograph() -> None:
    assert rendition(grey_photograph(), "png", OutputFormat.AUTO).format == "jpeg"


@pytest.mark.parametrize(
    ("image", "mode", "bits"),
    [
        (board(64), "P", 1),
        (board(64, colours=(RED, WHITE)).resize((640, 640), Image.Resampling.NEAREST), "P", 1),
        (text(RED, WHITE).quantize(4).convert("RGB"), "P", 2),
        (text(RED, WHITE), "P", 8),
        (Image.linear_gradient("L").convert("RGB"), "L", 8),
        (board(64, colours=((*RED, 90), (*BLUE, 255))), "P", 1),
        (Image.new("RGBA", (300, 200)), "P", 1),
    ],
    ids=["board", "large board", "four colours", "text", "grey", "transparent", "empty"],
)
def test_a_png_of_few_colours_has_a_palette_and_the_same_pixels(
    image: Image.Image, mode: str, bits: int
) -> None:
    content = bytes(rendition(image, "png").content)
    found = opened(content)

    assert (found.mode, content[24]) == (mode, bits)
    assert found.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()
    assert len(content) <= len(encoded(image, "PNG", compress_level=3))


def test_a_png_of_few_colours_that_is_smaller_without_a_palette_has_none() -> None:
    levels = np.indices((300, 400)).sum(axis=0) // 3 % 256
    image = Image.fromarray(np.stack([levels, levels, 255 - levels], axis=-1).astype(np.uint8))

    found = rendition(image, "png")

    assert len(found.content) <= len(encoded(image, "PNG", compress_level=3))
    assert opened(found.content).convert("RGB").tobytes() == image.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_any_256_colours_are_kept_exactly(seed: int) -> None:
    mode = ("RGB", "RGBA")[seed % 2]
    colours = noise(16, 16, mode=mode, seed=seed)
    image = colours.resize((64, 48), Image.Resampling.NEAREST)

    reduced = with_palette(image)

    assert reduced is not None
    assert opened(encoded(reduced, "PNG")).convert(mode).tobytes() == image.tobytes()


def test_more_than_256_colours_have_no_palette() -> None:
    assert with_palette(noise(40, 40)) is None


@pytest.mark.parametrize("kind", ["simple", "with alpha", "with metadata", "animated"])
@pytest.mark.parametrize("is_lossless", [True, False])
def test_a_lossless_webp_is_recognised(kind: str, is_lossless: bool) -> None:
    image = noise(40, 30, mode="RGBA" if kind == "with alpha" else "RGB")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0" if kind == "with metadata" else b""
    frames = [noise(40, 30, seed=2)] if kind == "animated" else []
    content = encoded(
        image, "WEBP", lossless=is_lossless, exif=exif, save_all=kind == "animated", append_images=frames
    )

    assert is_lossless_webp(content) == is_lossless


@pytest.mark.parametrize("cut", [0, 12, 15])
def test_a_webp_without_pixels_is_not_lossless(cut: int) -> None:
    assert not is_lossless_webp(encoded(noise(40, 30), "WEBP", lossless=True)[:cut])


def test_a_lossless_webp_stays_lossless() -> None:
    image = noise(120, 90)
    content = processed(encoded(image, "WEBP", lossless=True), Size("large", 500, 500))

    assert is_lossless_webp(content)
    assert opened(content).convert("RGB").tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "size", [Size("a", 500, 500, format=OutputFormat.WEBP), Size("b", 500, 500, target_bytes=9000)]
)
def test_a_lossless_webp_becomes_lossy_for_another_recipe(size: Size) -> None:
    content = processed(encoded(noise(120, 90), "WEBP", lossless=True), size)
    assert not is_lossless_webp(content)


def test_a_drawing_as_webp_is_exact_if_that_is_smaller() -> None:
    image = text(RED, WHITE)
    assert error(opened(rendition(image, "jpeg", OutputFormat.WEBP).content), image) == 0
    assert not is_lossless_webp(bytes(rendition(soft_photograph(0), "jpeg", OutputFormat.WEBP).content))
