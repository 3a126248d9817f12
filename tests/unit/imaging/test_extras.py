"""Gain maps, high dynamic range and content credentials are detected, and do not reach the renditions."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.extras import (
    APPLE_GAIN_MAP_XMP,
    C2PA_BOX,
    GAIN_MAP_XMP,
    ISO_GAIN_MAP,
    MANIFEST,
    a_gain_map,
    a_photograph,
    auxiliary_type,
    box,
    heic,
    jpeg_manifest,
    multi_picture,
    with_item_type,
    with_property,
    with_segments,
)
from tests.support.gifs import Frame, gif
from tests.support.pictures import difference, encoded, opened, quadrants
from tests.support.pngs import cicp, plain, png_of
from worker.domain.errors import RejectedError
from worker.domain.recipe import Limits, OutputFormat, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.boxes import has_gain_map, has_manifest
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.imaging.validate import validate

SMALL = Size("small", 64, 48)


def detail_of(content: bytes) -> dict[str, object]:
    _, note = validate(content, limits=Limits(), sizes=(SMALL,))
    return dict(note.detail)


def rendition_of(content: bytes, output: OutputFormat = OutputFormat.SOURCE) -> bytes:
    recipe = Recipe(sizes=(Size("small", 64, 48, format=output),), watermark=None)
    *_, rendition = process(content, recipe, limits=Limits(), fonts=Fonts(()))
    assert isinstance(rendition, EncodedRendition)
    return bytes(rendition.content)


def avif() -> bytes:
    return encoded(quadrants(64, 48), "AVIF", quality=90)


def with_transfer(content: bytes, transfer: int) -> bytes:
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", 9, transfer) + content[at + 4 :]


def appended(content: bytes, added: bytes) -> bytes:
    return content + added


def webp_with(kind: bytes, body: bytes) -> bytes:
    simple = encoded(quadrants(64, 48), "WEBP", exif=Image.Exif().tobytes())
    chunk = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return simple[:4] + struct.pack("<I", len(simple) - 8 + len(chunk)) + simple[8:] + chunk


HDR: dict[str, Callable[[], bytes]] = {
    "Ultra HDR": lambda: multi_picture(a_photograph(xmp=GAIN_MAP_XMP), a_gain_map(xmp=GAIN_MAP_XMP)),
    "Ultra HDR without an index": lambda: a_photograph(xmp=GAIN_MAP_XMP) + a_gain_map(xmp=GAIN_MAP_XMP),
    "ISO 21496-1": lambda: multi_picture(
        with_segments(a_photograph(), (0xE2, ISO_GAIN_MAP)), with_segments(a_gain_map(), (0xE2, ISO_GAIN_MAP))
    ),
    "gain map after a preview": lambda: multi_picture(
        a_photograph(), a_gain_map(), with_segments(a_gain_map(), (0xE2, ISO_GAIN_MAP))
    ),
    "Apple JPEG": lambda: multi_picture(a_photograph(), a_gain_map(xmp=APPLE_GAIN_MAP_XMP)),
    "progressive": lambda: multi_picture(
        a_photograph(xmp=GAIN_MAP_XMP, progressive=True), a_gain_map(xmp=GAIN_MAP_XMP)
    ),
    "Apple HEIC": lambda: with_property(
        heic(quadrants(64, 48)), auxiliary_type(b"urn:com:apple:photo:2020:aux:hdrgainmap")
    ),
    "HEIC with tone map": lambda: with_item_type(heic(quadrants(64, 48)), b"tmap"),
    "AVIF with tone map": lambda: with_item_type(avif(), b"tmap"),
    "PQ in AVIF": lambda: with_transfer(avif(), 16),
    "HLG in AVIF": lambda: with_transfer(avif(), 18),
    "HLG in HEIC": lambda: with_transfer(heic(quadrants(64, 48)), 18),
    "PQ in PNG": lambda: plain((100, 100, 100), cicp(9, 16)),
    "HLG in PNG": lambda: plain((100, 100, 100), cicp(9, 18)),
}
NOT_HDR: dict[str, Callable[[], bytes]] = {
    "JPEG": a_photograph,
    "gain map removed": lambda: a_photograph(xmp=GAIN_MAP_XMP),
    "gain map removed, film left": lambda: a_photograph(xmp=GAIN_MAP_XMP) + b"\xff\xd8\xff" + bytes(1000),
    "second picture": lambda: multi_picture(a_photograph(), a_photograph()),
    "thumbnail": lambda: multi_picture(
        with_segments(a_photograph(), (0xE1, b"Exif\0\0" + a_gain_map(xmp=GAIN_MAP_XMP))), a_photograph()
    ),
    "HEIC": lambda: heic(quadrants(64, 48)),
    "depth": lambda: with_property(heic(quadrants(64, 48)), auxiliary_type(b"urn:mpeg:hevc:2015:auxid:2")),
    "AVIF": avif,
    "BT.2020 in PNG": lambda: plain((100, 100, 100), cicp(9, 1)),
    "WebP": lambda: encoded(quadrants(64, 48), "WEBP"),
}


@pytest.mark.parametrize("name", HDR)
def test_a_file_of_high_dynamic_range_is_recorded_as_such(name: str) -> None:
    assert detail_of(HDR[name]())["hdr"] is True


@pytest.mark.parametrize("name", NOT_HDR)
def test_other_files_are_not_recorded_as_of_high_dynamic_range(name: str) -> None:
    assert "hdr" not in detail_of(NOT_HDR[name]())


@pytest.mark.parametrize("name", [name for name in HDR if "AVIF" not in name and "HEIC" not in name][:6])
def test_a_rendition_is_made_of_the_base_image_and_has_no_gain_map(name: str) -> None:
    content = HDR[name]()
    rendition = rendition_of(content)
    assert difference(opened(rendition), quadrants(64, 48)) < 8
    assert detail_of(content)["frames"] == 1
    assert b"hdr-gain-map" not in rendition
    assert b"21496" not in rendition
    assert rendition.count(b"\xff\xd8\xff") == 1


@pytest.mark.parametrize("name", ["Apple HEIC", "HEIC with tone map", "AVIF with tone map"])
def test_a_rendition_of_a_file_of_boxes_shows_its_main_picture(name: str) -> None:
    assert difference(opened(rendition_of(HDR[name]())).convert("RGB"), quadrants(64, 48)) < 8


CREDENTIALS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: with_segments(a_photograph(), jpeg_manifest()),
    "JPEG with a wide box": lambda: with_segments(
        a_photograph(), jpeg_manifest(struct.pack(">I4sQ", 1, b"jumb", 2008) + MANIFEST[8:])
    ),
    "PNG": lambda: plain((100, 100, 100), (b"caBX", MANIFEST)),
    "PNG after the pixels": lambda: _png_with_last(b"caBX", MANIFEST),
    "WebP": lambda: webp_with(b"C2PA", MANIFEST),
    "AVIF": lambda: appended(avif(), box(b"uuid", C2PA_BOX)),
    "HEIC": lambda: appended(heic(quadrants(64, 48)), box(b"uuid", C2PA_BOX)),
    "GIF": lambda: _gif_with_application(b"C2PA_GIF\x01\0\0", MANIFEST[:200]),
    "TIFF": lambda: encoded(quadrants(64, 48), "TIFF", tiffinfo={52545: MANIFEST}),
}


def _png_with_last(kind: bytes, body: bytes) -> bytes:
    content = plain((100, 100, 100))
    return content[:-12] + png_of((kind, body))[8:] + content[-12:]


def _gif_with_application(name: bytes, body: bytes) -> bytes:
    content = gif(40, 30, Frame(0, 0, 40, 30))
    at = 13 + 3 * 128
    block = b"\x21\xff\x0b" + name + bytes([len(body)]) + body + b"\0"
    return content[:at] + block + content[at:]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_content_credentials_are_recorded_and_no_rendition_has_them(name: str) -> None:
    content = CREDENTIALS[name]()
    assert detail_of(content)["contentCredentials"] is True
    for output in (OutputFormat.SOURCE, OutputFormat.PNG, OutputFormat.WEBP):
        rendition = rendition_of(content, output)
        assert not any(part in rendition for part in (b"c2pa", b"C2PA", b"jumb", b"caBX"))
        assert "contentCredentials" not in detail_of(rendition)


@pytest.mark.parametrize(
    "content",
    [
        with_segments(a_photograph(), (0xEB, b"JP\0\1\0\0\0\1" + MANIFEST.replace(b"c2pa", b"cb6d"))),
        with_segments(a_photograph(), (0xEB, b"HDR_RI ver=11 c2pa")),
        with_segments(a_photograph(), (0xEB, b"")),
        webp_with(b"XMP ", b"C2PA"),
        _gif_with_application(b"XMP DataXMP", MANIFEST[:200]),
        appended(avif(), box(b"uuid", bytes(16) + MANIFEST)),
    ],
    ids=["another JUMBF", "another APP11", "empty APP11", "WebP", "GIF", "another uuid"],
)
def test_similar_structures_are_not_content_credentials(content: bytes) -> None:
    assert "contentCredentials" not in detail_of(content)


def test_an_upload_can_have_both() -> None:
    photograph = with_segments(a_photograph(xmp=GAIN_MAP_XMP), jpeg_manifest())
    detail = detail_of(multi_picture(photograph, a_gain_map(xmp=GAIN_MAP_XMP)))
    assert (detail["hdr"], detail["contentCredentials"]) == (True, True)


@pytest.mark.parametrize("name", ["Ultra HDR", "Apple HEIC", "AVIF with tone map"])
def test_a_file_cut_anywhere_is_rejected_or_recorded(name: str) -> None:
    content = HDR[name]()
    for end in range(2, len(content), max(1, len(content) // 40)):
        with suppress(RejectedError):
            assert detail_of(content[:end]).get("hdr") in {None, True}


@given(st.binary(max_size=300), st.sampled_from([b"meta", b"uuid", b"iinf"]))
def test_boxes_of_any_content_are_read(body: bytes, kind: bytes) -> None:
    for content in (body, box(kind, body), box(b"meta", bytes(4) + box(kind, body))):
        assert has_gain_map(content) in {True, False}
        assert has_manifest(content) in {True, False}


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_gain_map_or_index_is_no_reason_to_reject(offset: int, value: int) -> None:
    content = bytearray(multi_picture(a_photograph(xmp=GAIN_MAP_XMP), a_gain_map(xmp=GAIN_MAP_XMP)))
    at = len(content) - 1 - offset
    content[at] = value
    assert detail_of(bytes(content)).get("hdr") in {None, True}


def _many_pictures() -> bytes:
    return multi_picture(a_photograph(xmp=GAIN_MAP_XMP)) + b"\xff\xd8\xff\xe2\0\2" * 200_000


def _many_segments() -> bytes:
    many = [(0xE2, b"MPF\0")] * 15_000
    return with_segments(a_photograph(), *many) + with_segments(a_gain_map(), *[(0xE1, b"")] * 200_000)


def _many_boxes() -> bytes:
    return avif() + box(b"uuid", bytes(16)) * 60_000


@pytest.mark.parametrize("make", [_many_pictures, _many_segments, _many_boxes])
def test_thousands_of_parts_take_no_longer_than_decoding_may(make: Callable[[], bytes]) -> None:
    content = make()
    start = time.process_time()
    assert "hdr" not in detail_of(content)
    assert time.process_time() - start < 3
