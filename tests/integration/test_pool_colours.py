"""Colours, transparency and encoding of unusual images in real, confined decoder processes."""

import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
import pyvips
from PIL import Image

from tests.support.extras import (
    GAIN_MAP_XMP,
    a_gain_map,
    a_photograph,
    jpeg_manifest,
    multi_picture,
    with_segments,
)
from tests.support.gifs import Frame, gif
from tests.support.pictures import encoded, noise, opened, pixel
from tests.support.pngs import GREY_ALPHA, RGB, cicp, iccp, plain
from tests.support.pools import RECIPE, make_pool, outputs_of
from tests.support.profiles import DISPLAY_P3, grey_profile, in_srgb, rgb_profile
from worker.decoder_pool.pool import DecoderPool
from worker.domain.recipe import Animation, Size
from worker.domain.step import EncodedRendition, StepReport

UNMARKED = replace(RECIPE, sizes=(Size("large", 1000, 1000),), watermark=None, animation=Animation.KEEP)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    """A pool of one decoder, which each test leaves idle."""
    async with make_pool() as started:
        yield started


async def test_high_dynamic_range_and_content_credentials_are_reported(pool: DecoderPool) -> None:
    photograph = with_segments(a_photograph(xmp=GAIN_MAP_XMP), jpeg_manifest())
    report, *_ = await outputs_of(pool, multi_picture(photograph, a_gain_map(xmp=GAIN_MAP_XMP)))
    assert isinstance(report, StepReport)
    assert (report.detail["hdr"], report.detail["contentCredentials"]) == (True, True)


async def rendition_of(pool: DecoderPool, content: bytes) -> tuple[EncodedRendition, Image.Image]:
    *_, rendition = await outputs_of(pool, content, UNMARKED)
    assert isinstance(rendition, EncodedRendition)
    return rendition, opened(rendition.content).convert("RGBA")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (plain((200, 60, 60), cicp(12, 13)), (217, 42, 52, 255)),
        (plain((148, 148, 148), cicp(9, 16)), (190, 190, 190, 255)),
        (plain((0x8080, 0x6363), iccp(grey_profile(1.0)), kind=GREY_ALPHA, depth=16), (188, 188, 188, 99)),
        (
            plain((0x2020, 0x1010, 0x0808), iccp(rgb_profile(DISPLAY_P3, gamma=1.0)), depth=16),
            (*in_srgb((0x20, 0x10, 0x08), DISPLAY_P3, gamma=1.0), 255),
        ),
        (plain((9, 9, 9), (b"tRNS", struct.pack(">3H", 9, 9, 8)), kind=RGB), (9, 9, 9, 255)),
        (gif(40, 30, Frame(0, 0, 10, 10)), (0, 0, 0, 0)),
    ],
    ids=["P3", "PQ", "grey 16 bits", "RGB 16 bits", "transparent colour", "GIF"],
)
async def test_unusual_colours_are_converted_in_a_decoder(
    pool: DecoderPool, content: bytes, expected: tuple[int, ...]
) -> None:
    _, image = await rendition_of(pool, content)
    assert pixel(image, (20, 15)) == pytest.approx(expected, abs=2)


async def test_a_large_cmyk_profile_is_applied_in_a_decoder(pool: DecoderPool) -> None:
    plain_colour = pyvips.Image.black(300, 200, bands=3).linear(1, [200, 60, 60])
    inks = plain_colour.cast("uchar").copy(interpretation="srgb").icc_export(output_profile="cmyk")
    _, image = await rendition_of(pool, inks.tiffsave_buffer())
    expected = inks.icc_transform("srgb", embedded=True, intent="perceptual").getpoint(20, 15)
    assert pixel(image, (20, 15))[:3] == pytest.approx(expected, abs=2)


async def test_a_large_image_of_16_bits_of_linear_light_fits_into_the_memory_of_a_decoder(
    pool: DecoderPool,
) -> None:
    ramp = pyvips.Image.xyz(5000, 5000)[0].cast("ushort")
    image = ramp.bandjoin([ramp, ramp]).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", rgb_profile(DISPLAY_P3, gamma=1.0))
    rendition, _ = await rendition_of(pool, image.pngsave_buffer(compression=1))
    assert (rendition.width, rendition.height) == (1000, 1000)


async def test_a_lossless_webp_stays_lossless_in_a_decoder(pool: DecoderPool) -> None:
    image = noise(120, 90)
    _, found = await rendition_of(pool, encoded(image, "WEBP", lossless=True))
    assert found.convert("RGB").tobytes() == image.tobytes()
