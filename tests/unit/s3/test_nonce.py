"""A nonce makes each file unique, and decoders show the same picture as before."""

import io
from typing import Any
from zlib import crc32

import pytest
from PIL import ExifTags, Image

from tests.support.pictures import encoded, noise
from worker.domain.step import EXTENSIONS, NONCE_BYTES, EncodedRendition
from worker.s3.nonce import new_nonce, with_nonce

NONCE = b"0123456789abcdef"
CREDITS = Image.Exif()
CREDITS[ExifTags.Base.Copyright] = "a photographer"
FRAMES: Any = {
    "save_all": True,
    "append_images": [noise(37, 21, seed=2), noise(37, 21, seed=3)],
    "duration": 70,
}

FILES: dict[str, tuple[str, bytes]] = {
    "jpeg": ("jpeg", encoded(noise(37, 21))),
    "progressive jpeg": ("jpeg", encoded(noise(37, 21), progressive=True)),
    "jpeg with credits": ("jpeg", encoded(noise(37, 21), exif=CREDITS)),
    "grey jpeg": ("jpeg", encoded(noise(37, 21, mode="L"))),
    "png": ("png", encoded(noise(37, 21), "PNG")),
    "transparent png with credits": ("png", encoded(noise(37, 21, mode="RGBA"), "PNG", exif=CREDITS)),
    "webp": ("webp", encoded(noise(37, 21), "WEBP")),
    "lossless webp": ("webp", encoded(noise(37, 21), "WEBP", lossless=True)),
    "transparent webp": ("webp", encoded(noise(37, 21, mode="RGBA"), "WEBP")),
    "transparent lossless webp": ("webp", encoded(noise(37, 21, mode="RGBA"), "WEBP", lossless=True)),
    "webp with credits": ("webp", encoded(noise(37, 21), "WEBP", exif=CREDITS)),
    "animated webp": ("webp", encoded(noise(37, 21), "WEBP", **FRAMES, loop=3)),
    "gif": ("gif", encoded(noise(37, 21), "GIF")),
    "animated gif": ("gif", encoded(noise(37, 21), "GIF", **FRAMES, loop=3)),
    "avif": ("avif", encoded(noise(37, 21), "AVIF")),
    "transparent avif with credits": ("avif", encoded(noise(37, 21, mode="RGBA"), "AVIF", exif=CREDITS)),
}


def a_rendition(picture_format: str, content: bytes) -> EncodedRendition:
    return EncodedRendition(size="medium", width=37, height=21, format=picture_format, content=content)


def decoded(content: bytes) -> list[tuple[Any, ...]]:
    """Return all that a decoder reads from a file, frame by frame."""
    with Image.open(io.BytesIO(content)) as image:
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            frames.append(
                (image.mode, image.size, image.tobytes(), image.info.get("duration"), image.info.get("loop"))
            )
        return [*frames, (bytes(image.getexif().tobytes()), image.info.get("icc_profile"))]


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_nonce_shows_the_same_picture_and_differs_from_one_with_another(name: str) -> None:
    picture_format, content = FILES[name]
    rendition = a_rendition(picture_format, content)

    first, second = with_nonce(rendition, NONCE), with_nonce(rendition, new_nonce())

    with Image.open(io.BytesIO(first)) as image:
        image.verify()
    assert decoded(first) == decoded(content) == decoded(second)
    assert first.count(NONCE) == 1
    assert first != second
    assert len(content) < len(first) == len(second) <= len(content) + NONCE_BYTES


def test_every_format_of_renditions_is_covered() -> None:
    assert {picture_format for picture_format, _ in FILES.values()} == EXTENSIONS.keys()


def test_a_nonce_adds_at_most_nonce_bytes() -> None:
    grown = [len(with_nonce(a_rendition(*file), NONCE)) - len(file[1]) for file in FILES.values()]

    assert max(grown) == NONCE_BYTES


def test_the_checksums_of_a_png_with_a_nonce_are_valid() -> None:
    content, at, kinds = with_nonce(a_rendition(*FILES["png"]), NONCE), 8, []

    while at < len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        assert crc32(content[at + 4 : end]) == int.from_bytes(content[end : end + 4], "big")
        kinds.append(content[at + 4 : at + 8])
        at = end + 4

    assert kinds == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_a_jpeg_with_a_nonce_still_begins_with_its_application_segments() -> None:
    content = with_nonce(a_rendition(*FILES["jpeg with credits"]), NONCE)

    assert content[2:4] == b"\xff\xe0"
    with Image.open(io.BytesIO(content)) as image:
        assert [name for name, _ in image.applist] == ["APP0", "APP1", "COM"]  # type: ignore[attr-defined]  # of JPEG files


@pytest.mark.parametrize("name", [name for name in FILES if "webp" in name])
def test_a_webp_with_a_nonce_is_an_extended_file_with_the_right_length_and_size(name: str) -> None:
    content = with_nonce(a_rendition(*FILES[name]), NONCE)

    assert content[12:16] == b"VP8X"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert int.from_bytes(content[24:27], "little") + 1 == 37
    assert int.from_bytes(content[27:30], "little") + 1 == 21


@pytest.mark.parametrize(
    ("name", "is_transparent"),
    [("webp", False), ("lossless webp", False), ("transparent lossless webp", True)],
)
def test_a_simple_webp_that_becomes_an_extended_one_keeps_its_transparency(
    name: str,
    is_transparent: bool,
) -> None:
    before, after = FILES[name][1], with_nonce(a_rendition(*FILES[name]), NONCE)

    assert before[12:16] != b"VP8X"
    assert after[20] == (0x10 if is_transparent else 0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut short", "empty", "of another format"])
def test_an_incomplete_file_or_another_format_is_rejected(name: str, damage: str) -> None:
    picture_format, content = FILES[name]
    broken = {"cut short": content[:20], "empty": b"", "of another format": b"no picture" * 20}[damage]

    with pytest.raises(ValueError, match=picture_format):
        with_nonce(a_rendition(picture_format, broken), NONCE)


def test_nonces_are_sixteen_hexadecimal_digits_and_unique() -> None:
    nonces = {new_nonce() for _ in range(1000)}

    assert len(nonces) == 1000
    assert all(len(nonce) == 16 and int(nonce, 16) >= 0 for nonce in nonces)
