"""Write the files of the matrix."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from tests.matrix import pictures
from tests.matrix.cases import ANCILLARY, CUTS, NO_END, Case
from tests.matrix.profiles import profile
from tests.support.pictures import encoded
from tests.support.pngs import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, Chunk, iccp, png_of
from tests.support.tiff_files import tiff_file

_XMP: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
_PASSES: Final = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""First row, first column and the steps to the next ones, of each pass of an interlaced PNG."""

_BYTE, _SHORT, _UNDEFINED = 1, 3, 7
_ALPHA_TAGS: Final = {"zero": 0, "associated": 1, "straight": 2}
_PHOTOMETRICS: Final = {"white-is-zero": 0, "grey": 1, "RGB": 2, "palette": 3, "CMYK": 5}
_BYTES_OF_END: Final = {"PNG": 12, "JPEG": 2, "GIF": 1}


def build(case: Case) -> bytes:
    """Return the file of a case."""
    whole = _whole(case.undamaged)
    if case.damage in CUTS:
        return whole[: round(len(whole) * CUTS[case.damage])]
    if case.damage == NO_END:
        return whole[: len(whole) - _BYTES_OF_END.get(case.format, 1)]
    return _with_ancillary_damage(whole, case.format) if case.damage == ANCILLARY else whole


@lru_cache(maxsize=256)
def _whole(case: Case) -> bytes:
    match case.format:
        case "PNG":
            return _png(case)
        case "TIFF":
            return _tiff(case)
        case "BMP":
            return _bmp(case)
    return _by_pillow(case)


def _png(case: Case) -> bytes:
    chunks: list[Chunk] = []
    if (icc := profile(case.profile)) is not None:
        chunks.append(iccp(icc))
    if case.colours == "palette":
        samples = pictures.indices(case.depth)[..., None]
        chunks.append((b"PLTE", bytes(level for colour in pictures.palette(case.depth) for level in colour)))
        if case.alpha == "palette":
            chunks.append((b"tRNS", bytes(pictures.palette_opacity(case.depth))))
        kind = PALETTE
    else:
        samples = pictures.colours(case.colours, case.depth)
        kind = GREY if case.colours == "grey" else RGB
        if case.alpha == "key":
            key = pictures.key(case.colours, case.depth)
            chunks.append((b"tRNS", struct.pack(f">{len(key)}H", *key)))
        elif case.alpha != "none":
            samples = pictures.with_alpha(samples, case.alpha, case.depth)
            kind = GREY_ALPHA if kind == GREY else RGBA
    if case.orientation == "XMP only":
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP))
    elif case.orientation != "absent":
        chunks.append((b"eXIf", _exif(case.orientation).tobytes()[len(b"Exif\0\0") :]))
    is_interlaced = case.layout == "interlaced"
    header = struct.pack(
        ">IIBBBBB", samples.shape[1], samples.shape[0], case.depth, kind, 0, 0, is_interlaced
    )
    parts = [samples[top::down, left::across] for top, left, down, across in _PASSES]
    rows = b"".join(_png_rows(part, case.depth) for part in (parts if is_interlaced else [samples]))
    pixels = zlib.compress(rows, 0 if case.damage else 6)
    half = len(pixels) // 2
    bodies = [(b"IDAT", pixels[:half]), (b"IDAT", pixels[half:])]
    return png_of((b"IHDR", header), *chunks, *bodies, (b"IEND", b""))


def _png_rows(samples: NDArray[Any], depth: int) -> bytes:
    return b"".join(b"\0" + row for row in _packed_rows(samples, depth)) if samples.size else b""


def _packed_rows(samples: NDArray[Any], depth: int) -> Iterator[bytes]:
    rows = samples.reshape(samples.shape[0], -1)
    for row in rows:
        if depth >= 8:
            yield row.astype(f">u{depth // 8}").tobytes()
        else:
            bits = row[:, None] >> np.arange(depth - 1, -1, -1) & 1
            yield np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def _tiff(case: Case) -> bytes:
    options: dict[str, Any] = {}
    if case.colours == "palette":
        samples = pictures.indices(case.depth)[..., None]
        colours = pictures.palette(case.depth)
        options["palette"] = [257 * colour[band] for band in range(3) for colour in colours]
    else:
        samples = pictures.colours(case.colours, case.depth)
        if case.alpha != "none":
            samples = pictures.with_alpha(samples, case.alpha, case.depth)
            options["extra"] = [_ALPHA_TAGS[case.alpha]]
    tags: dict[int, tuple[int, Any]] = {}
    if case.orientation == "XMP only":
        tags[700] = (_BYTE, list(_XMP))
    elif case.orientation != "absent":
        tags[274] = (_SHORT, [int(case.orientation)])
    if (icc := profile(case.profile)) is not None:
        tags[34675] = (_BYTE, list(icc))
    if case.colours == "CMYK":
        tags[332] = (_SHORT, [1])
    layouts: dict[str, dict[str, Any]] = {
        "big-endian": {"order": ">"},
        "deflate": {"compression": 8},
        "predictor": {"compression": 8, "predictor": 2},
        "planes": {"planes": 2},
        "tiles": {"tile": 16},
        "reversed bits": {"fill_order": 2},
    }
    options |= layouts.get(case.layout, {})
    photometric = _PHOTOMETRICS[case.colours]
    return tiff_file(samples, bits=case.depth, photometric=photometric, tags=tags, **options)


def _bmp(case: Case) -> bytes:
    """Write rows from the bottom up, with the header of Windows 3 or of version 5."""
    if case.colours == "palette":
        colours = pictures.palette(case.depth)
        table = b"".join(bytes((blue, green, red, 0)) for red, green, blue in colours)
        rows, bits = list(_packed_rows(pictures.indices(case.depth), case.depth)), case.depth
    else:
        table, samples, bits = b"", pictures.colours("RGB", 8), 24
        levels = samples[..., ::-1]
        if case.alpha != "none":
            levels, bits = np.concatenate([levels, pictures.opacity(case.alpha, 8)], axis=2), 32
        rows = [bytes(row) for row in pictures.bytes_of(levels)]
    body = b"".join(row + bytes(-len(row) % 4) for row in reversed(rows))
    icc = profile(case.profile) or b""
    is_version_5 = case.layout == "version 5"
    length = 124 if is_version_5 else 40
    start = 14 + length + len(table)
    compression = 3 if bits == 32 else 0
    header = struct.pack(
        "<IiiHHIIiiII", length, pictures.WIDTH, pictures.HEIGHT, 1, bits, compression, len(body), 0, 0,
        len(table) // 4, 0,
    )  # fmt: skip
    if is_version_5:
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if bits == 32 else (0, 0, 0, 0)
        space = b"DEBM" if icc else b"BGRs"
        header += struct.pack("<4I4s36x12xIIII", *masks, space, 4, start - 14 + len(body), len(icc), 0)
    file_header = struct.pack("<2sIHHI", b"BM", start + len(body) + len(icc), 0, 0, start)
    return file_header + header + table + body + icc


def _by_pillow(case: Case) -> bytes:
    options: dict[str, Any] = {}
    if (icc := profile(case.profile)) is not None:
        options["icc_profile"] = icc
    if case.orientation == "XMP only":
        options["xmp"] = _XMP
    elif case.orientation != "absent":
        options["exif"] = _exif(case.orientation)
    match case.format:
        case "JPEG":
            subsampling = "4:2:0" if case.layout == "baseline 4:2:0" else "4:4:4"
            if case.layout == "progressive":
                options["progressive"] = True
            elif case.layout == "restarts":
                options["restart_marker_rows"] = 1
            return encoded(_picture(case), "JPEG", quality=92, subsampling=subsampling, **options)
        case "WebP":
            return encoded(_picture(case), "WEBP", lossless=case.layout == "lossless", exact=True, **options)
        case "GIF":
            return _gif(case, options)
        case "AVIF":
            return encoded(
                _picture(case), "AVIF", quality=95, subsampling=case.layout[-5:], speed=10,
                alpha_premultiplied=case.alpha == "associated", max_threads=1, **options,
            )  # fmt: skip
    return _heic(case, options)


def _gif(case: Case, options: dict[str, Any]) -> bytes:
    image = Image.fromarray(pictures.bytes_of(pictures.indices(6)), "P")
    image.putpalette([level for colour in pictures.palette(6) for level in colour])
    if case.alpha == "palette":
        options["transparency"] = 5
    options.pop("xmp", None)
    content = encoded(image, "GIF", interlace=case.layout == "interlaced", **options)
    if case.orientation != "XMP only":
        return content
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    at = 13 + (3 << (content[10] & 7) + 1)
    return content[:at] + b"\x21\xff\x0bXMP DataXMP" + _XMP + trailer + content[at:]


def _heic(case: Case, options: dict[str, Any]) -> bytes:
    from pillow_heif import from_pillow

    file = io.BytesIO()
    if "exif" in options:
        options["exif"] = options["exif"].tobytes()
    from_pillow(_picture(case)).save(file, quality=95, chroma=case.layout[-5:].replace(":", ""), **options)
    return file.getvalue()


def _picture(case: Case) -> Image.Image:
    samples = pictures.colours(case.colours, 8)
    if case.alpha != "none":
        samples = pictures.with_alpha(samples, "zero" if case.alpha == "zero" else "straight", 8)
    levels = pictures.bytes_of(samples)
    if case.colours == "CMYK":
        return Image.frombytes("CMYK", (levels.shape[1], levels.shape[0]), levels.tobytes())
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _exif(orientation: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = int(orientation)
    return exif


def _with_ancillary_damage(content: bytes, kind: str) -> bytes:
    """Damage a part that has nothing to do with the pixels, or add one that is damaged."""
    match kind:
        case "PNG":  # text with a wrong checksum
            text = b"Comment\0damaged"
            return content[:33] + struct.pack(">I", len(text)) + b"tEXt" + text + bytes(4) + content[33:]
        case "JPEG":  # XMP that is not XML
            body = b"http://ns.adobe.com/xap/1.0/\0" + bytes(range(7, 90))
            return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]
        case "GIF":  # an application extension without its data
            at = 13 + (3 << (content[10] & 7) + 1)
            return content[:at] + b"\x21\xff\x0bXXXXXXXXXXX\0" + content[at:]
        case "WebP":  # bytes after the end
            return content + b"JUNK\xff\xff\xff"
        case "TIFF":  # bytes after the end
            return content + bytes(range(20))
    return content + struct.pack(">I4s", 400, b"free") + bytes(12)  # a box in which the file ends
