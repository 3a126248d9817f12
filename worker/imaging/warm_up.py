"""Run every decoder and encoder once, so that nothing is left to be loaded when images arrive."""

import contextlib
import importlib
import io
from dataclasses import replace
from typing import Any, Final

from PIL import Image, ImageCms

from worker.domain.errors import RejectedError
from worker.domain.recipe import Animation, Limits, OutputFormat, Recipe, Size, Watermark
from worker.imaging.fonts import Fonts
from worker.imaging.geometry import layout
from worker.imaging.heic_threads import decode_in_calling_thread
from worker.imaging.picture import Extent
from worker.imaging.pipeline import process
from worker.imaging.watermark import collapse_whitespace, fitting_tile

_MODULES: Final = (
    "colorsys",
    "encodings.ascii",
    "encodings.cp1252",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_16",
    "encodings.utf_16_be",
    "encodings.utf_16_le",
    "encodings.utf_32",
    "encodings.utf_8_sig",
    "traceback",
)
"""Modules that Python imports by name when a text or an error needs them."""

_SIDE_PX: Final = 48
_STILL: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
_ANIMATED: Final = ("GIF", "WEBP", "PNG")
_MODES: Final = (("CMYK", "JPEG"), ("L", "JPEG"), ("P", "PNG"), ("I;16", "PNG"), ("LAB", "TIFF"))
_RECIPE: Final = Recipe(
    sizes=(
        Size("source", 32, 32),
        *(Size(chosen.value, 16, 16, format=chosen) for chosen in OutputFormat),
    ),
    watermark=Watermark("Aa", rotation_deg=5),
    animation=Animation.KEEP,
)


_SHAPES: Final = (Extent(6000, 6000), Extent(6000, 4500), Extent(6000, 4000), Extent(6000, 3375))
"""Square, 4:3, 3:2 and 16:9."""


def warm_up(fonts: Fonts) -> None:
    """
    Process a small image of each format, and import what is otherwise imported with the first image.

    It also makes caches and memory pools that a fork inherits.

    Raises:
        RuntimeError: HEIC images cannot be decoded without threads.
    """
    for module in _MODULES:
        importlib.import_module(module)
    if not decode_in_calling_thread():
        message = (
            "the installed pillow-heif decodes in threads, which a decoder process cannot start: "
            "install its wheel from PyPI"
        )
        raise RuntimeError(message)
    for content in _samples():
        with contextlib.suppress(RejectedError):
            for _ in process(content, _RECIPE, limits=Limits(), fonts=fonts):
                pass


def render_watermarks(recipe: Recipe | None, fonts: Fonts) -> None:
    """
    Render the text of a recipe for renditions of usual shapes, so that forks find it in the cache.

    To render it takes as long as to decode a small image.
    """
    if recipe is None or recipe.watermark is None:
        return
    mark = replace(recipe.watermark, text=collapse_whitespace(recipe.watermark.text), logo=None)
    if not mark.text:
        return
    for size in recipe.sizes:
        for shape in _SHAPES:
            for original in (shape, shape.turned):
                fitting_tile(layout(original, size).canvas, mark=mark, fonts=fonts)


def _samples() -> list[bytes]:
    gradient = Image.linear_gradient("L").resize((_SIDE_PX, _SIDE_PX))
    opaque = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    transparent = opaque.copy()
    transparent.putalpha(gradient)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    samples = [_encoded(opaque, image_format, icc_profile=profile) for image_format in _STILL]
    samples += [_encoded(transparent, image_format) for image_format in ("PNG", "WEBP", "AVIF", "TIFF")]
    samples += [
        _encoded(opaque, image_format, save_all=True, append_images=[opaque.rotate(90)])
        for image_format in _ANIMATED
    ]
    samples += [
        _encoded(opaque.convert(mode), image_format)
        for mode, image_format in (
            ("CMYK", "JPEG"),
            ("L", "JPEG"),
            ("P", "PNG"),
            ("I;16", "PNG"),
            ("LAB", "TIFF"),
        )
    ]
    damaged = [sample[: len(sample) // 2] for sample in samples]
    return samples + damaged


def _encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:  # noqa: ANN401 - options of Pillow's encoders
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()
