"""Every layout of a TIFF is read right, or rejected by its name: none is completed with wrong pixels."""

from itertools import cycle, islice, product
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.profiles import DISPLAY_P3, rgb_profile
from tests.support.tiff_files import directory, tiff_file
from worker.domain.errors import FormatNotAllowedError, RejectedError
from worker.domain.recipe import Limits, Size
from worker.imaging.resize import resize
from worker.imaging.validate import validate

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
CHANNELS: Final = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
NAMES: Final = {
    WHITE_IS_ZERO: "white is zero",
    BLACK_IS_ZERO: "black is zero",
    RGB: "RGB",
    PALETTE: "palette",
}
ASSOCIATED, UNASSOCIATED = 1, 2
TOLERANCE = 4
HEIGHT, WIDTH = 23, 37


def rendered(content: bytes) -> NDArray[np.int64]:
    """Return the pixels that are made from a file at its own size, as RGBA."""
    sizes = (Size("large", 4000, 4000),)
    decoded, _ = validate(content, limits=Limits(min_side_px=1), sizes=sizes)
    (picture,), _ = resize(decoded, sizes=sizes)
    return np.asarray(picture.image.convert("RGBA")).astype(np.int64)


def levels(channels: int, *, bits: int) -> NDArray[np.int64]:
    """Return different gradients in each channel, which cover the whole range."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    gradients = [(across * (3 + n) + down * (5 - n) + n * 40) % 101 / 100 for n in range(channels)]
    return (np.stack(gradients, -1) * ((1 << bits) - 1)).round().astype(np.int64)


def expected(samples: NDArray[np.int64], *, bits: int, photometric: int, extra: Any, palette: Any) -> Any:
    """Return the RGBA pixels that the TIFF specification gives these samples."""
    scaled = samples / ((1 << bits) - 1) * 255
    colours, channels = scaled[:, :, : CHANNELS[photometric]], CHANNELS[photometric]
    alpha = scaled[:, :, channels] if extra and extra[0] else np.full(scaled.shape[:2], 255.0)
    if photometric == PALETTE:
        colours = np.asarray(palette).reshape(3, -1).T[samples[:, :, 0]] / 257
    elif photometric == WHITE_IS_ZERO:
        colours = np.repeat(255 - colours, 3, 2)
    elif photometric == BLACK_IS_ZERO:
        colours = np.repeat(colours, 3, 2)
    if extra and extra[0] == ASSOCIATED:
        colours = np.clip(colours / np.maximum(alpha, 1)[:, :, None] * 255, 0, 255)
    return np.dstack([colours, alpha])


@pytest.mark.parametrize("extra", [None, (0,), (ASSOCIATED,), (UNASSOCIATED,)])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("photometric", NAMES, ids=NAMES.get)
def test_a_layout_is_read_right_or_rejected_by_name(
    photometric: int, bits: int, extra: tuple[int, ...] | None
) -> None:
    palette = [level % 256 * 257 for n in range(3) for level in range(13 * n, 13 * n + (1 << bits))]
    samples = levels(CHANNELS[photometric] + len(extra or ()), bits=bits)
    if extra == (ASSOCIATED,):
        samples = np.minimum(samples, samples[:, :, -1:])
    wanted = expected(samples, bits=bits, photometric=photometric, extra=extra, palette=palette)
    options = product("<>", (1, 2), ((1, 1), (8, 1), (8, 2)))
    # Each of these four goes with three of the twelve options, and with others for other extra samples.
    parts = islice(cycle(product((1, 2), (None, 16))), len(extra or ()) + sum(extra or ()), None)
    for (order, planes, (compression, predictor)), (fill_order, tile) in zip(options, parts, strict=False):
        if predictor == 2 and bits not in {8, 16}:
            continue
        content = tiff_file(
            samples,
            bits=bits,
            photometric=photometric,
            order=order,
            planes=planes,
            extra=extra,
            compression=compression,
            predictor=predictor,
            fill_order=fill_order,
            palette=palette if photometric == PALETTE else (),
            tile=tile,
        )
        try:
            pixels = rendered(content)
        except FormatNotAllowedError as error:
            assert f"{bits}-bit " in str(error)  # noqa: PT017 - the other outcome is as good
            continue
        different = np.abs(pixels - wanted)
        different[:, :, :3] *= wanted[:, :, 3:] / 255  # colours of invisible pixels do not matter
        assert different.max() <= TOLERANCE


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO, RGB], ids=NAMES.get)
@pytest.mark.parametrize("order", "<>")
def test_common_layouts_are_supported(photometric: int, bits: int, order: str) -> None:
    samples = levels(CHANNELS[photometric], bits=bits)
    rendered(tiff_file(samples, bits=bits, photometric=photometric, order=order))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_eight_bits_is_not_read_as_one_of_sixteen(bits: int) -> None:
    palette = [level for level in (200, 60, 20) for _ in range(1 << bits)]
    content = tiff_file(levels(1, bits=bits), bits=bits, photometric=PALETTE, palette=palette)
    assert rendered(content)[5, 5].tolist() == [200, 60, 20, 255]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"bits": 32, "sample_format": 3, "photometric": RGB}, "32-bit floating-point RGB TIFF"),
        ({"bits": 32, "sample_format": 3, "photometric": BLACK_IS_ZERO}, "32-bit floating-point grey TIFF"),
        ({"bits": 32, "photometric": BLACK_IS_ZERO}, "32-bit grey TIFF"),
        ({"bits": 8, "sample_format": 2, "photometric": BLACK_IS_ZERO}, "8-bit signed grey TIFF"),
        ({"bits": 16, "photometric": BLACK_IS_ZERO, "extra": (2,)}, "16-bit grey with alpha TIFF"),
        ({"bits": 8, "photometric": BLACK_IS_ZERO, "extra": (2,), "planes": 2}, "8-bit grey with alpha in"),
        ({"bits": 8, "photometric": RGB, "compression": 34887}, "TIFF with LERC compression"),
        ({"bits": 8, "photometric": RGB, "compression": 40000}, "TIFF with method 40000 compression"),
    ],
)
def test_an_unsupported_layout_is_named(options: dict[str, Any], name: str) -> None:
    channels = CHANNELS[options["photometric"]] + len(options.get("extra", ()))
    content = tiff_file(levels(channels, bits=8), **options)
    with pytest.raises(FormatNotAllowedError, match=name):
        rendered(content)


MAKE = {271: (2, b"NIKON CORPORATION\0")}


@pytest.mark.parametrize(
    ("tags", "sub_tags", "name"),
    [
        (MAKE | {254: (4, [1])}, {262: (3, [32803])}, "Nikon Corporation camera raw"),
        (MAKE | {254: (4, [1])}, {259: (3, [34713])}, "Nikon Corporation camera raw"),
        ({271: (2, b"SONY\0"), 254: (4, [1])}, {259: (3, [32767])}, "Sony camera raw"),
        ({271: (2, b"Google\0"), 50706: (1, [1, 4, 0, 0])}, {}, "Google camera raw"),
        ({262: (3, [34892])}, {}, "camera raw"),
        ({254: (4, [1])}, {256: (4, [4000]), 257: (4, [3000]), 262: (3, [2])}, "only page is a thumbnail"),
    ],
)
def test_a_file_that_shows_only_a_thumbnail_of_its_image_is_rejected(
    tags: dict[int, Any], sub_tags: dict[int, Any], name: str
) -> None:
    sub_directory = directory(sub_tags) if sub_tags else b""
    content = tiff_file(levels(3, bits=8), bits=8, photometric=RGB, tags=tags, sub_directory=sub_directory)
    with pytest.raises(FormatNotAllowedError, match=name):
        rendered(content)


def test_the_first_page_that_is_not_a_thumbnail_is_processed() -> None:
    thumbnail = Image.new("RGB", (16, 12), "red")
    image = Image.new("RGB", (160, 120), (30, 60, 90))
    content = two_pages(thumbnail, image)
    assert rendered(content).shape == (120, 160, 4)
    assert rendered(content)[5, 5].tolist() == [30, 60, 90, 255]


def two_pages(thumbnail: Image.Image, image: Image.Image) -> bytes:
    """Return a file whose first page is marked as a thumbnail of the second."""
    pages = [np.asarray(page).astype(np.int64) for page in (thumbnail, image)]
    first = tiff_file(pages[0], bits=8, photometric=RGB, tags={254: (4, [1])})
    samples_at = len(first) + len(first) % 2
    at = samples_at + pages[1].size
    height, width, _ = pages[1].shape
    entries: dict[int, tuple[int, Any]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8, 8, 8]),
        259: (3, [1]),
        262: (3, [RGB]),
        273: (4, [samples_at]),
        277: (3, [3]),
        278: (4, [height]),
        279: (4, [pages[1].size]),
    }
    start = int.from_bytes(first[4:8], "little")
    link = start + 2 + 12 * int.from_bytes(first[start : start + 2], "little")
    linked = first[:link] + at.to_bytes(4, "little") + first[link + 4 :]
    return linked.ljust(samples_at, b"\0") + pages[1].astype("u1").tobytes() + directory(entries, at=at)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("order", "<>")
def test_a_damaged_directory_is_rejected_and_not_an_error_of_the_program(share: float, order: str) -> None:
    content = tiff_file(levels(3, bits=8), bits=8, photometric=RGB, order=order)
    start = int.from_bytes(content[4:8], "little" if order == "<" else "big")
    at = start + round(share * (len(content) - start))
    damaged = content[:at] + bytes(byte ^ 0xA5 for byte in content[at : at + 6]) + content[at + 6 :]
    for candidate in (content[:at], damaged):
        with pytest.raises(RejectedError):
            rendered(candidate)


def test_the_orientation_of_xmp_does_not_turn_one_half_of_16_bit_samples() -> None:
    levels = np.random.default_rng(1).integers(0, 65536, (20, 30, 3))
    profile, xmp = list(rgb_profile(DISPLAY_P3)), list(b'<x tiff:Orientation="3"/>')
    upright = tiff_file(levels, bits=16, photometric=2, tags={34675: (1, profile)})
    described = tiff_file(levels, bits=16, photometric=2, tags={34675: (1, profile), 700: (1, xmp)})
    assert np.array_equal(rendered(described), rendered(upright))
