"""An image within the limits completes within the memory of a decoder, in every format and mode."""

import io
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pillow_heif
import pytest
import pytest_asyncio
from PIL import Image

from tests.support.jpegs import flat_jpeg
from tests.support.pictures import encoded
from tests.support.pools import RECIPE, make_pool, outputs_of
from worker.decoder_pool.pool import DecoderPool
from worker.domain.errors import DecodeTimeoutError, TooManyPixelsError
from worker.domain.recipe import Fit, Limits, Size
from worker.domain.status import StepName
from worker.domain.step import EncodedRendition, StepReport
from worker.imaging.cost import COEFFICIENT_BYTES_PER_PIXEL, max_decoding_seconds, max_pixels_in_memory
from worker.imaging.signatures import ALLOWED_FORMATS
from worker.settings import Settings

MEMORY_MB = 320
"""A fifth of the default, so that the images can be small."""


FULL_SCALE: Final = replace(RECIPE, sizes=(Size("strip", 10_000, 10, fit=Fit.COVER),))
"""For the strip, a JPEG is decoded at full scale, although the result is small."""


def flat(mode: str, side: int) -> Image.Image:
    colours: Mapping[str, Any] = {"CMYK": (9, 99, 199, 7), "LA": (9, 99), "RGBA": (9, 99, 199, 90)}
    return Image.new(mode, (side, side), colours.get(mode, 5 if mode in {"L", "P", "1"} else (9, 99, 199)))


def heic(mode: str, side: int) -> bytes:
    file = io.BytesIO()
    options = {"enc_params": {"preset": "ultrafast"}}
    pillow_heif.from_pillow(flat(mode, side)).save(file, quality=20, **options)
    return file.getvalue()


def deep_grey(side: int) -> Image.Image:
    return Image.fromarray(np.full((side, side), 8000, np.uint16))


KINDS: Final[Mapping[str, tuple[str, str, Callable[[int], bytes]]]] = {
    "JPEG": ("jpeg", "RGB", lambda side: encoded(flat("RGB", side))),
    "JPEG progressive": (
        "jpeg",
        "RGB",
        lambda side: encoded(flat("RGB", side), progressive=True),
    ),
    "JPEG CMYK": ("jpeg", "CMYK", lambda side: encoded(flat("CMYK", side))),
    "PNG": ("png", "RGB", lambda side: encoded(flat("RGB", side), "PNG")),
    "PNG with alpha": ("png", "RGBA", lambda side: encoded(flat("RGBA", side), "PNG")),
    "PNG grey with alpha": ("png", "LA", lambda side: encoded(flat("LA", side), "PNG")),
    "PNG palette": ("png", "P", lambda side: encoded(flat("P", side), "PNG")),
    "PNG one bit": ("png", "1", lambda side: encoded(flat("1", side), "PNG")),
    "PNG 16 bits": ("png", "I;16", lambda side: encoded(deep_grey(side), "PNG")),
    "WebP": ("webp", "RGB", lambda side: encoded(flat("RGB", side), "WEBP", method=0)),
    "WebP with alpha": ("webp", "RGBA", lambda side: encoded(flat("RGBA", side), "WEBP", method=0)),
    "GIF": ("gif", "P", lambda side: encoded(flat("P", side), "GIF")),
    "TIFF": ("tiff", "RGB", lambda side: encoded(flat("RGB", side), "TIFF", compression="tiff_lzw")),
    "TIFF CMYK": ("tiff", "CMYK", lambda side: encoded(flat("CMYK", side), "TIFF", compression="tiff_lzw")),
    "TIFF 16 bits": ("tiff", "I;16", lambda side: encoded(deep_grey(side), "TIFF", compression="tiff_lzw")),
    "BMP": ("bmp", "RGB", lambda side: encoded(flat("RGB", side), "BMP")),
    "BMP of 32 bits": ("bmp", "RGB", lambda side: encoded(flat("RGBA", side), "BMP")),
    "AVIF": ("avif", "RGB", lambda side: encoded(flat("RGB", side), "AVIF", speed=10)),
    "HEIC": ("heic", "RGB", lambda side: heic("RGB", side)),
    "HEIC with alpha": ("heic", "RGBA", lambda side: heic("RGBA", side)),
    "AVIF with alpha": ("avif", "RGBA", lambda side: encoded(flat("RGBA", side), "AVIF", speed=10)),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small_pool() -> AsyncIterator[DecoderPool]:
    """A pool whose decoder has little memory; each rejection of an image replaces the decoder by a fork."""
    async with make_pool(limits=Limits(max_bytes=2**30), decoder_memory_mb=MEMORY_MB) as started:
        yield started


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_largest_image_of_a_kind_completes_in_the_memory_of_a_decoder(
    small_pool: DecoderPool, kind: str
) -> None:
    image_format, mode, make = KINDS[kind]
    recipe = FULL_SCALE if image_format == "jpeg" else RECIPE
    more = COEFFICIENT_BYTES_PER_PIXEL if "progressive" in kind else 0
    bytes_per_pixel = len(make(1000)) / 1_000_000

    def fits(side: int) -> bool:
        return side * side <= max_pixels_in_memory(
            image_format,
            mode,
            memory_mb=MEMORY_MB,
            size_bytes=int(bytes_per_pixel * side * side),
            sizes=recipe.sizes,
            more_bytes_per_pixel=more,
        )

    largest = max(side for side in range(500, 10_000, 50) if fits(side))
    outputs = await outputs_of(small_pool, make(largest), recipe)
    assert len(outputs) == len(StepName) + len(recipe.sizes)
    with pytest.raises(TooManyPixelsError):
        await outputs_of(small_pool, make(int(1.1 * largest)), recipe)


async def test_a_jpeg_of_200_megapixels_of_a_phone_completes_with_the_default_settings() -> None:
    extent = 16_320, 12_240
    settings = Settings(processes=1)
    limits = Limits(max_pixels=settings.max_pixels, max_stored_pixels=settings.max_stored_pixels)
    async with make_pool(limits=limits, decoder_memory_mb=settings.decoder_memory_mb) as pool:
        *_, resized, _, medium, _ = await outputs_of(pool, flat_jpeg(*extent))
    assert isinstance(resized, StepReport)
    assert resized.detail["dimensions"]["original"] == {"width": extent[0], "height": extent[1]}  # type: ignore[call-overload, index]  # JSON
    assert isinstance(medium, EncodedRendition)
    assert (medium.width, medium.height) == (800, 600)


def test_the_default_memory_is_enough_for_the_default_limit_except_for_webp() -> None:
    for image_format in ALLOWED_FORMATS:
        for mode in ("1", "L", "P", "I;16", "RGB", "RGBA", "LA", "CMYK", "LAB", "YCbCr"):
            limit = max_pixels_in_memory(
                image_format, mode, memory_mb=1536, size_bytes=20_000_000, sizes=RECIPE.sizes
            )
            assert limit >= (79_000_000 if image_format == "webp" else Limits().max_pixels)


def test_the_decoding_time_is_bounded_by_the_pixels_and_by_the_bytes() -> None:
    assert max_decoding_seconds(pixels=12_000_000, size_bytes=4_000_000) == 8
    assert max_decoding_seconds(pixels=100_000_000, size_bytes=200_000) == 9
    assert max_decoding_seconds(pixels=100_000_000, size_bytes=50_000_000) == 43


def test_the_error_of_an_image_that_takes_too_long_for_its_size_does_not_name_a_timeout() -> None:
    assert "than an image of this size may take" in str(DecodeTimeoutError(limit_s=None))
