"""Colours are converted by what a file states about them: profiles, code points, gamma and chromaticities."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
import pyvips
from PIL import Image

from tests.support.pictures import encoded, noise, pixel
from tests.support.pngs import GREY, GREY_ALPHA, RGB, RGBA, Chunk, chrm, cicp, gama, iccp, plain, png
from tests.support.profiles import (
    ADOBE_RGB,
    BT_2020,
    DISPLAY_P3,
    SRGB,
    Matrix,
    grey_profile,
    in_srgb,
    linear_in_srgb,
    rgb_profile,
    srgb_level,
    srgb_light,
    srgb_profile,
)
from worker.domain.recipe import Limits, Size
from worker.imaging.boxes import coded_colours
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SMALL = Size("small", 400, 400)
COLOUR = (200, 60, 60)
P3_PRIMARIES = ((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SRGB_PRIMARIES = ((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_PRIMARIES = ((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))


def converted(content: bytes) -> Image.Image:
    decoded, _ = validate(content, limits=Limits(), sizes=(SMALL,))
    (picture,), _ = resize(decoded, sizes=(SMALL,))
    return picture.image


def centre(content: bytes) -> tuple[int, ...]:
    image = converted(content)
    return pixel(image, (image.width // 2, image.height // 2))


def details_of(content: bytes) -> dict[str, object]:
    decoded, note = validate(content, limits=Limits(), sizes=(SMALL,))
    return {**note.detail, **resize(decoded, sizes=(SMALL,))[1].detail}


def p3(rgb: tuple[int, int, int]) -> tuple[int, ...]:
    return linear_in_srgb([srgb_light(value / 255) for value in rgb], DISPLAY_P3)


def heic(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=-1, **options)
    return file.getvalue()


def with_code_points(content: bytes, primaries: int, transfer: int) -> bytes:
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def bmp(rgb: tuple[int, int, int], *, space: bytes, description: bytes = b"", profile: bytes = b"") -> bytes:
    """Return a BMP with a header of version 5; `description` starts at the end points."""
    row = bytes(reversed(rgb)) * 40
    pixels = row * 30
    header = struct.pack("<IiiHHIIiiII", 124, 40, 30, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + space
    header += description.ljust(48, b"\0") + struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    return struct.pack("<2sIHHI", b"BM", 14 + 124 + len(pixels), 0, 0, 138) + header + pixels + profile


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("name", ["sRGB", "linear sRGB built-in", "P3 with sRGB Transfer"])
def test_a_profile_is_applied_whatever_its_name(image_format: str, name: str) -> None:
    profile = rgb_profile(DISPLAY_P3, gamma=1.0, name=name)
    image = Image.new("RGB", (64, 48), COLOUR)
    if image_format == "HEIC":
        content = heic(image, icc_profile=profile)
    else:
        content = encoded(
            image, image_format, icc_profile=profile, **({"quality": 100} if image_format != "PNG" else {})
        )

    assert centre(content) == pytest.approx(in_srgb(COLOUR, DISPLAY_P3, gamma=1.0), abs=4)
    assert "profileIgnored" not in details_of(content)


@pytest.mark.parametrize("name", ["IEC 61966-2.1", "Adobe RGB (1998)", "Display P3", ""])
def test_a_profile_that_does_what_srgb_does_changes_no_pixel(name: str) -> None:
    image = noise(64, 48)
    content = encoded(image, "PNG", icc_profile=srgb_profile(name))

    assert converted(content).tobytes() == image.tobytes()
    assert "profileIgnored" not in details_of(content)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize(
    ("kind", "depth", "stored", "alpha"),
    [
        (GREY, 8, (128,), None),
        (GREY_ALPHA, 8, (128, 99), 99),
        (GREY, 16, (0x8080,), None),
        (GREY_ALPHA, 16, (0x8080, 0x6363), 99),
    ],
    ids=["grey 8", "grey alpha 8", "grey 16", "grey alpha 16"],
)
def test_a_grey_profile_is_applied_at_any_depth_with_or_without_alpha(
    kind: int, depth: int, stored: tuple[int, ...], alpha: int | None, gamma: float
) -> None:
    content = plain(stored, iccp(grey_profile(gamma)), kind=kind, depth=depth)

    grey = srgb_level((128 / 255) ** gamma)
    expected = (grey, grey, grey) if alpha is None else (grey, grey, grey, alpha)
    assert centre(content) == pytest.approx(expected, abs=1)
    assert "profileIgnored" not in details_of(content)


@pytest.mark.parametrize("key", [128, 5])
def test_a_grey_profile_is_applied_to_an_image_with_a_transparent_colour(key: int) -> None:
    content = plain((128,), iccp(grey_profile(1.0)), (b"tRNS", struct.pack(">H", key)), kind=GREY)

    image = converted(content).convert("RGBA")
    assert pixel(image, (5, 5)) == pytest.approx((188, 188, 188, 0 if key == 128 else 255), abs=1)


@pytest.mark.parametrize("mode", ["L", "I;16"])
@pytest.mark.parametrize("image_format", ["TIFF", "PNG"])
def test_a_profile_for_rgb_is_applied_to_grey_as_equal_red_green_and_blue(
    mode: str, image_format: str
) -> None:
    grey = Image.new(mode, (40, 30), 128 if mode == "L" else 0x8080)
    content = encoded(grey, image_format, icc_profile=rgb_profile(DISPLAY_P3, gamma=1.0))

    assert centre(content) == pytest.approx((188, 188, 188), abs=1)
    assert "profileIgnored" not in details_of(content)


def _without_a_part_of_its_profile() -> bytes:
    content = encoded(Image.new("RGB", (40, 30)), "JPEG", icc_profile=rgb_profile(SRGB) + bytes(70_000))
    assert b"ICC_PROFILE\0\x02\x02" in content
    return content.replace(b"ICC_PROFILE\0\x02\x02", b"ICC_REMOVED\0\x02\x02")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (plain(COLOUR, iccp(grey_profile(1.0))), "for GRAY colours"),
        (plain((*COLOUR, 255), iccp(grey_profile(1.0)), kind=RGBA), "for GRAY colours"),
        (
            plain((3,), (b"PLTE", bytes(range(48))), iccp(grey_profile(1.0)), kind=3, depth=4),
            "for GRAY colours",
        ),
        (encoded(Image.new("CMYK", (40, 30)), "TIFF", icc_profile=rgb_profile(SRGB)), "for RGB colours"),
        (encoded(Image.new("L", (40, 30)), "JPEG", icc_profile=b"nonsense" * 40), "unreadable"),
        (plain(COLOUR, (b"iCCP", b"profile\0\0not zlib")), "unreadable"),
        (_without_a_part_of_its_profile(), "unreadable"),
        (plain(COLOUR, iccp(rgb_profile(SRGB, gamma=1.0).replace(b"mntr", b"link"))), "without a conversion"),
    ],
    ids=[
        "grey for RGB",
        "grey for RGBA",
        "grey for palette",
        "RGB for CMYK",
        "nonsense",
        "damaged",
        "incomplete",
        "of another class",
    ],
)
def test_a_profile_that_is_not_applied_is_recorded_as_ignored(content: bytes, reason: str) -> None:
    assert details_of(content)["profileIgnored"] == reason


def test_an_ignored_profile_changes_no_pixel() -> None:
    assert centre(plain(COLOUR, iccp(grey_profile(1.0)))) == COLOUR


@pytest.mark.parametrize("image_format", ["tiff", "jpeg"])
def test_a_profile_for_cmyk_is_applied_as_libvips_applies_it(image_format: str) -> None:
    inks = pyvips.Image.new_from_memory(
        noise(48, 32, mode="RGB").resize((48, 32)).tobytes(), 48, 32, 3, "uchar"
    )
    smooth = inks.copy(interpretation="srgb").gaussblur(8).cast("uchar").icc_export(output_profile="cmyk")
    options = {"Q": 100, "keep": "icc"} if image_format == "jpeg" else {}
    content = smooth.write_to_buffer(f".{image_format}", **options)
    expected = pyvips.Image.new_from_buffer(content, "").icc_transform(
        "srgb", embedded=True, intent="perceptual", black_point_compensation=False
    )

    found = converted(content)

    assert found.size == (48, 32)
    difference = [abs(a - b) for a, b in zip(found.tobytes(), bytes(expected.write_to_memory()), strict=True)]
    assert max(difference) <= 2


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("primaries", "matrix"), [(1, SRGB), (12, DISPLAY_P3), (9, BT_2020)], ids=["BT.709", "P3", "BT.2020"]
)
@pytest.mark.parametrize("transfer", [1, 4, 8, 13, 14])
def test_code_points_of_a_png_are_converted(
    transfer: int, primaries: int, matrix: Matrix, depth: int
) -> None:
    rgb = (200, 120, 100)
    stored = rgb if depth == 8 else tuple(value * 257 for value in rgb)
    content = plain(stored, cicp(primaries, transfer), depth=depth)

    gamma = {4: 2.2, 8: 1.0}.get(transfer)  # browsers show the curves of video with the curve of sRGB
    light = [srgb_light(value / 255) if gamma is None else (value / 255) ** gamma for value in rgb]
    assert centre(content) == pytest.approx(linear_in_srgb(light, matrix), abs=2)


def test_the_narrow_range_of_video_is_widened() -> None:
    black_and_white = [[(16, 16, 16)] * 20 + [(235, 235, 235)] * 20] * 30
    image = converted(png(black_and_white, cicp(1, 13, full_range=0)))

    assert pixel(image, (5, 5)) == pytest.approx((0, 0, 0), abs=1)
    assert pixel(image, (35, 5)) == pytest.approx((255, 255, 255), abs=1)


@pytest.mark.parametrize("kind", [GREY, RGB])
@pytest.mark.parametrize(
    ("transfer", "level", "expected"),
    [
        (16, 0.0, 0),
        (16, 0.5807, 190),
        (16, 0.7518, 255),
        (16, 1.0, 255),
        (18, 0.0, 0),
        (18, 0.75, 190),
        (18, 1.0, 255),
    ],
    ids=["PQ black", "PQ white", "PQ 1,000 nits", "PQ peak", "HLG black", "HLG white", "HLG peak"],
)
def test_high_dynamic_range_is_compressed(transfer: int, level: float, expected: int, kind: int) -> None:
    stored = (round(level * 255),) * (3 if kind == RGB else 1)
    assert centre(plain(stored, cicp(9, transfer), kind=kind)) == pytest.approx((expected,) * 3, abs=3)


@pytest.mark.parametrize("transfer", [16, 18])
def test_high_dynamic_range_keeps_the_order_of_brightness_and_the_hue(transfer: int) -> None:
    greys = converted(png([[(level,) * 3 for level in range(256)]] * 30, cicp(9, transfer)))
    row = [pixel(greys, (x, 5))[1] for x in range(256)]
    assert row == sorted(row)

    red, green, blue = centre(plain((150, 110, 90), cicp(1, transfer)))
    assert red > green > blue


P3_GAMMA = rgb_profile(DISPLAY_P3)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((cicp(12, 13), iccp(rgb_profile(ADOBE_RGB))), p3(COLOUR)),
        ((iccp(P3_GAMMA), (b"sRGB", b"\0"), gama(1.0)), in_srgb(COLOUR, DISPLAY_P3)),
        (((b"sRGB", b"\0"), gama(1.0), chrm(*P3_PRIMARIES)), COLOUR),
        ((gama(1 / 2.2), chrm(*P3_PRIMARIES)), in_srgb(COLOUR, DISPLAY_P3)),
        ((chrm(*P3_PRIMARIES),), p3(COLOUR)),
        ((gama(1.0), chrm(*SRGB_PRIMARIES)), in_srgb(COLOUR, SRGB, gamma=1.0)),
        ((gama(1 / 1.8),), in_srgb(COLOUR, SRGB, gamma=1.8)),
        ((gama(0.45455), chrm(*SRGB_PRIMARIES)), COLOUR),
        ((cicp(12, 13, matrix=1), iccp(P3_GAMMA)), in_srgb(COLOUR, DISPLAY_P3)),
        ((cicp(200, 13), iccp(P3_GAMMA)), in_srgb(COLOUR, DISPLAY_P3)),
        ((gama(0.0),), COLOUR),
        ((chrm((0, 0), (0, 0), (0, 0), (0, 0)),), COLOUR),
        ((chrm((0.3, 0.3), (0.1, 0.1), (0.1, 0.1), (0.1, 0.1)),), COLOUR),
    ],
    ids=[
        "cICP before a profile",
        "a profile before sRGB",
        "sRGB before gamma",
        "gamma and chromaticities",
        "chromaticities alone",
        "linear",
        "gamma alone",
        "sRGB in other words",
        "cICP with a matrix",
        "cICP with unknown primaries",
        "gamma of zero",
        "chromaticities of zero",
        "chromaticities on a line",
    ],
)
def test_the_first_valid_description_of_a_png_counts(
    chunks: tuple[Chunk, ...], expected: tuple[int, ...]
) -> None:
    assert centre(plain(COLOUR, *chunks)) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(("gamma", "kind"), [(1.0, GREY), (1.0, GREY_ALPHA), (1 / 1.8, GREY)])
def test_a_gamma_applies_to_grey(gamma: float, kind: int) -> None:
    stored = (128,) if kind == GREY else (128, 255)
    expected = srgb_level((128 / 255) ** (1 / gamma))
    assert centre(plain(stored, gama(gamma), kind=kind)) == pytest.approx((expected,) * 3, abs=1)


@pytest.mark.parametrize("image_format", ["AVIF", "HEIC"])
@pytest.mark.parametrize(
    ("primaries", "transfer", "expected"),
    [
        (12, 13, p3((180, 100, 90))),
        (9, 14, linear_in_srgb([srgb_light(value / 255) for value in (180, 100, 90)], BT_2020)),
        (1, 1, (180, 100, 90)),
        (2, 2, (180, 100, 90)),
        (1, 8, in_srgb((180, 100, 90), SRGB, gamma=1.0)),
        (1, 4, in_srgb((180, 100, 90), SRGB, gamma=2.2)),
    ],
    ids=["P3", "BT.2020", "BT.709", "unspecified", "linear", "gamma 2.2"],
)
def test_code_points_of_avif_and_heic_are_converted(
    image_format: str, primaries: int, transfer: int, expected: tuple[int, ...]
) -> None:
    image = Image.new("RGB", (64, 48), (180, 100, 90))
    content = (
        encoded(image, "AVIF", quality=100, subsampling="4:4:4") if image_format == "AVIF" else heic(image)
    )

    assert centre(with_code_points(content, primaries, transfer)) == pytest.approx(expected, abs=4)


def test_unknown_code_points_of_an_avif_are_ignored() -> None:
    content = encoded(Image.new("RGB", (64, 48), (180, 100, 90)), "AVIF", quality=100, subsampling="4:4:4")

    assert centre(with_code_points(content, 99, 99)) == pytest.approx((180, 100, 90), abs=4)


def test_a_profile_of_an_avif_precedes_its_code_points() -> None:
    image = Image.new("RGB", (64, 48), (180, 100, 90))
    content = encoded(image, "AVIF", quality=100, subsampling="4:4:4", icc_profile=rgb_profile(ADOBE_RGB))

    assert centre(content) == pytest.approx(in_srgb((180, 100, 90), ADOBE_RGB), abs=4)


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_an_avif_with_damaged_boxes_ends_in_a_picture_or_a_rejection(at: int) -> None:
    content = bytearray(with_code_points(encoded(Image.new("RGB", (64, 48), COLOUR), "AVIF"), 12, 13))
    content[at % len(content)] ^= 0xFF

    assert coded_colours(bytes(content)) in {
        None,
        (12, 13),
        *((p, t) for p in (12, 243, 65292) for t in (13, 242, 65293)),
    }


def _fixed_2_30(chromaticities: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    ends = [part for x, y in chromaticities for part in (x, y, 1 - x - y)]
    return struct.pack("<9i3I", *(round(part * 2**30) for part in ends), *[round(gamma * 65536)] * 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (bmp(COLOUR, space=b"DEBM", profile=rgb_profile(DISPLAY_P3)), in_srgb(COLOUR, DISPLAY_P3)),
        (
            bmp(COLOUR, space=bytes(4), description=_fixed_2_30(ADOBE_PRIMARIES[1:], 1.8)),
            in_srgb(COLOUR, ADOBE_RGB, gamma=1.8),
        ),
        (bmp(COLOUR, space=bytes(4), description=_fixed_2_30(SRGB_PRIMARIES[1:], 2.2)), COLOUR),
        (bmp(COLOUR, space=bytes(4), description=_fixed_2_30(SRGB_PRIMARIES[1:], 1 / 2.2)), COLOUR),
        (bmp(COLOUR, space=bytes(4)), COLOUR),
        (bmp(COLOUR, space=b"BGRs"), COLOUR),
        (bmp(COLOUR, space=b" niW"), COLOUR),
        (bmp(COLOUR, space=b"KNIL", profile=b"C:\\profile.icm"), COLOUR),
    ],
    ids=["profile", "calibrated", "calibrated sRGB", "inverse gamma", "empty", "sRGB", "Windows", "linked"],
)
def test_the_colour_space_of_a_bmp_is_converted(content: bytes, expected: tuple[int, ...]) -> None:
    assert centre(content) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize(
    ("kind", "alpha"),
    [(RGB, ()), (RGBA, (65535,)), (GREY, ()), (GREY_ALPHA, (65535,))],
    ids=["RGB", "RGBA", "L", "LA"],
)
@pytest.mark.parametrize("description", ["profile", "gAMA", "cICP"])
def test_dark_levels_of_16_bits_of_linear_light_stay_apart(
    kind: int, alpha: tuple[int, ...], description: str
) -> None:
    is_grey = kind in {GREY, GREY_ALPHA}
    profile = grey_profile(1.0) if is_grey else rgb_profile(SRGB, gamma=1.0)
    chunk = {"profile": iccp(profile), "gAMA": gama(1.0), "cICP": cicp(1, 8)}[description]
    stored = [level * 16 for level in range(200)]
    row = [((level,) if is_grey else (level,) * 3) + alpha for level in stored]

    image = converted(png([row] * 30, chunk, kind=kind, depth=16))

    found = [pixel(image, (x, 5))[0] for x in range(200)]
    assert found == pytest.approx([srgb_level(level / 65535) for level in stored], abs=1)


@pytest.mark.parametrize("image_format", ["png", "tiff"])
@pytest.mark.parametrize(
    ("matrix", "gamma"),
    [(DISPLAY_P3, 2.2), (ADOBE_RGB, 2.2), (BT_2020, 1.8)],
    ids=["P3", "Adobe RGB", "BT.2020"],
)
def test_saturated_colours_of_16_bits_are_converted_with_all_of_them(
    image_format: str, matrix: Matrix, gamma: float
) -> None:
    colours = np.random.default_rng(7).integers(0, 65536, (30, 40, 3), np.uint16)
    image = pyvips.Image.new_from_memory(colours.tobytes(), 40, 30, 3, "ushort").copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", rgb_profile(matrix, gamma=gamma))

    found = converted(image.write_to_buffer(f".{image_format}", keep="icc"))

    gamma = round(gamma * 256) / 256  # as the profile stores it
    for y, x in ((y, x) for y in range(30) for x in range(40)):
        red, green, blue = (int(sample) for sample in colours[y, x])
        expected = in_srgb((red, green, blue), matrix, gamma=gamma, white=65535)
        assert pixel(found, (x, y)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("compression", "is_big_endian"), [("none", False), ("none", True), ("lzw", False), ("deflate", False)]
)
@pytest.mark.parametrize("bands", [3, 4])
def test_a_tiff_of_16_bits_of_linear_light_keeps_its_dark_levels(
    compression: str, is_big_endian: bool, bands: int
) -> None:
    ramp = (pyvips.Image.xyz(200, 30)[0] * 16).cast("ushort")
    image = ramp.bandjoin([ramp, ramp]).copy(interpretation="rgb16")
    image = image.bandjoin(65535).copy(interpretation="rgb16") if bands == 4 else image
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", rgb_profile(SRGB, gamma=1.0))
    content = image.tiffsave_buffer(compression=compression, strip=False)
    assert content.startswith(b"II")
    if is_big_endian:
        content = _big_endian(content)

    found = converted(content)

    assert [pixel(found, (x, 5))[0] for x in range(200)] == pytest.approx(
        [srgb_level(x * 16 / 65535) for x in range(200)], abs=1
    )


def _big_endian(content: bytes) -> bytes:
    """Return an uncompressed 16-bit TIFF of libvips in the other byte order, with a directory of its own."""
    image = pyvips.Image.new_from_buffer(content, "")
    samples = image.byteswap().write_to_memory()
    profile = image.get("icc-profile-data")
    bands = image.bands
    tags = [
        (256, 4, 1, image.width),
        (257, 4, 1, image.height),
        (258, 3, bands, None),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, 2 << 16),
        (273, 4, 1, None),
        (277, 3, 1, bands << 16),
        (278, 4, 1, image.height),
        (279, 4, 1, len(samples)),
        *([(338, 3, 1, 2 << 16)] if bands == 4 else []),
        (34675, 7, len(profile), None),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    bits = struct.pack(f">{bands}H", *[16] * bands)
    places = {258: start, 34675: start + len(bits), 273: start + len(bits) + len(profile) + len(profile) % 2}
    directory = b"".join(
        struct.pack(">HHII", tag, kind, count, places[tag] if value is None else value)
        for tag, kind, count, value in tags
    )
    head = struct.pack(">2sHIH", b"MM", 42, 8, len(tags)) + directory + bytes(4)
    return head + bits + profile + bytes(len(profile) % 2) + samples


def test_the_exif_colour_space_of_a_jpeg_is_ignored_as_browsers_do() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0xA005)[1] = "R03"
    content = encoded(Image.new("RGB", (64, 48), COLOUR), "JPEG", quality=100, exif=exif)

    assert centre(content) == pytest.approx(COLOUR, abs=2)


def test_the_lab_colours_of_a_tiff_are_converted_as_libvips_converts_them() -> None:
    rgb = pyvips.Image.new_from_memory(bytes((200, 60, 60)) * 40 * 30, 40, 30, 3, "uchar").copy(
        interpretation="srgb"
    )
    content = rgb.colourspace("lab").tiffsave_buffer(bitdepth=8)
    if Image.open(io.BytesIO(content)).mode != "LAB":
        pytest.skip("libvips wrote floating-point Lab")

    assert centre(content) == pytest.approx(COLOUR, abs=4)
