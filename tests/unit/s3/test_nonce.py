"""A mark makes a file unlike any other, and every decoder sees the same picture as before."""

import io
from typing import Any
from zlib import crc32

import pytest
from PIL import ExifTags, Image

from tests.support.pictures import encoded, noise
from worker.domain.step import EXTENSIONS, NONCE_BYTES, EncodedRendition
from worker.s3.nonce import marked, new_nonce

MARK = b"0123456789abcdef"
CREDITS = Image.Exif()
CREDITS[ExifTags.Base.Copyright] = "somebody"
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


def seen(content: bytes) -> list[tuple[Any, ...]]:
    """Return everything that a decoder shows, frame by frame."""
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
def test_a_marked_file_shows_the_same_picture_and_differs_with_its_mark(name: str) -> None:
    picture_format, content = FILES[name]
    rendition = a_rendition(picture_format, content)

    one, other = marked(rendition, MARK), marked(rendition, new_nonce())

    with Image.open(io.BytesIO(one)) as image:
        image.verify()
    assert seen(one) == seen(content) == seen(other)
    assert one.count(MARK) == 1
    assert one != other
    assert len(content) < len(one) == len(other) <= len(content) + NONCE_BYTES


def test_every_format_of_a_rendition_can_be_marked() -> None:
    assert {picture_format for picture_format, _ in FILES.values()} == EXTENSIONS.keys()


def test_the_most_that_a_mark_adds_is_what_is_said() -> None:
    grown = [len(marked(a_rendition(*file), MARK)) - len(file[1]) for file in FILES.values()]

    assert max(grown) == NONCE_BYTES


def test_the_checksums_of_a_marked_png_are_right() -> None:
    content, at, kinds = marked(a_rendition(*FILES["png"]), MARK), 8, []

    while at < len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        assert crc32(content[at + 4 : end]) == int.from_bytes(content[end : end + 4], "big")
        kinds.append(content[at + 4 : at + 8])
        at = end + 4

    assert kinds == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_a_marked_jpeg_still_begins_with_the_segments_that_have_to_come_first() -> None:
    content = marked(a_rendition(*FILES["jpeg with credits"]), MARK)

    assert content[2:4] == b"\xff\xe0"
    with Image.open(io.BytesIO(content)) as image:
        assert [name for name, _ in image.applist] == ["APP0", "APP1", "COM"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in FILES if "webp" in name])
def test_a_marked_webp_is_an_extended_one_of_the_sides_and_the_length_that_it_has(name: str) -> None:
    content = marked(a_rendition(*FILES[name]), MARK)

    assert content[12:16] == b"VP8X"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    assert int.from_bytes(content[24:27], "little") + 1 == 37
    assert int.from_bytes(content[27:30], "little") + 1 == 21


@pytest.mark.parametrize(
    ("name", "is_transparent"),
    [("webp", False), ("lossless webp", False), ("transparent lossless webp", True)],
)
def test_a_simple_webp_that_becomes_an_extended_one_says_whether_it_is_transparent(
    name: str,
    is_transparent: bool,  # noqa: FBT001 - a case of the table
) -> None:
    before, after = FILES[name][1], marked(a_rendition(*FILES[name]), MARK)

    assert before[12:16] != b"VP8X"
    assert after[20] == (0x10 if is_transparent else 0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut short", "empty", "of another format"])
def test_what_is_no_whole_file_of_its_format_is_refused(name: str, damage: str) -> None:
    picture_format, content = FILES[name]
    broken = {"cut short": content[:20], "empty": b"", "of another format": b"no picture" * 20}[damage]

    with pytest.raises(ValueError, match=picture_format):
        marked(a_rendition(picture_format, broken), MARK)


def test_marks_are_sixteen_digits_that_do_not_come_twice() -> None:
    marks = {new_nonce() for _ in range(1000)}

    assert len(marks) == 1000
    assert all(len(mark) == 16 and int(mark, 16) >= 0 for mark in marks)
