"""Write the demo images: the bundled ones in many formats and modes, and a truncated file."""

import shutil
import zlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter

Size = tuple[int, int]

BUNDLED: Final = Path(__file__).parents[1] / "data" / "demo"
HEIC_NAME: Final = "sea-from-an-iphone.heic"
"""Bundled as it is, because a demo cannot encode HEIC everywhere: the container image has no encoder."""

TRUNCATED_NAME: Final = "broken-on-purpose.jpg"

_ORIENTATION_ROTATED: Final = 6
"""EXIF orientation of a phone held upright: viewers rotate the stored image by 90 degrees clockwise."""

_GIF_FRAMES: Final = 8


@dataclass(frozen=True, slots=True)
class Variant:
    """
    One demo file, derived from a bundled image.

    Attributes:
        name: File name; its extension decides the format.
        source: Name of the bundled image, without extension.
        size: (width, height) in pixels that the bundled image is scaled to.
        noise: Standard deviation of the added sensor noise, in levels of 255. Without noise the file of an
            enlarged image would be much smaller than that of a photograph.
        mode: Pillow mode of the file.
        options: Arguments for Pillow's `save`.
    """

    name: str
    source: str
    size: Size
    _: KW_ONLY
    noise: float = 3.0
    mode: str = "RGB"
    options: Mapping[str, Any] = field(default_factory=dict)


_FINE: Final = {"quality": 90}
_PHONE: Final = Variant("forest-from-a-phone.jpg", "forest", (1200, 1600), options=_FINE)
_TRANSPARENT: Final = Variant("forest-transparent.png", "forest", (750, 1000), noise=0, mode="RGBA")
_ANIMATED: Final = Variant("sea-animated.gif", "sea", (480, 320), noise=0, mode="P")
_TRUNCATED: Final = Variant(TRUNCATED_NAME, "mountains", (900, 600), options=_FINE)
_VARIANTS: Final = (
    Variant("mountains-at-dawn.jpg", "mountains", (2700, 1800), options=_FINE),
    Variant(
        "sea-at-sunset-progressive.jpg", "sea", (1600, 1067), options={"quality": 88, "progressive": True}
    ),
    _PHONE,
    Variant("tulips.webp", "tulips", (1440, 960), options={"quality": 84, "method": 1}),
    Variant("mountains.png", "mountains", (1080, 720), noise=1.5, options={"compress_level": 1}),
    Variant("sea.tiff", "sea", (1200, 800), options={"compression": "tiff_lzw"}),
    Variant("lake.bmp", "lake", (1080, 720)),
    _ANIMATED,
    Variant("lake-in-grey.jpg", "lake", (1620, 1080), noise=4.5, mode="L", options=_FINE),
    Variant("tulips-for-print-cmyk.jpg", "tulips", (1200, 800), mode="CMYK", options=_FINE),
    _TRANSPARENT,
    Variant("tulips-palette.png", "tulips", (720, 480), noise=0, mode="P"),
    Variant("stamp-sized-sea.png", "sea", (240, 160), noise=1),
    _TRUNCATED,
)


def bundled_image(name: str) -> Image.Image:
    """Return a bundled image, decoded: `forest`, `lake`, `mountains`, `sea` or `tulips`."""
    with Image.open(BUNDLED / f"{name}.jpg") as image:
        return image.convert("RGB")


def write_demo_images(folder: Path) -> list[Path]:
    """
    Write the demo images into a folder and return their paths.

    The folder is created if it does not exist; files of the same names are replaced. Every call writes the
    same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    heic = Path(shutil.copyfile(BUNDLED / HEIC_NAME, folder / HEIC_NAME))
    return [heic, *(_write(variant, folder / variant.name) for variant in _VARIANTS)]


def _write(variant: Variant, path: Path) -> Path:
    image = bundled_image(variant.source).resize(variant.size, Image.Resampling.BICUBIC)
    if variant.noise:
        image = _with_noise(image, sigma=variant.noise, seed=zlib.crc32(variant.name.encode()))
    options = dict(variant.options)
    if variant is _PHONE:
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = phone_exif()
    elif variant is _TRANSPARENT:
        image.putalpha(_oval(image.size))
    elif variant is _ANIMATED:
        frames = _panned(image)
        image, options["append_images"] = frames[0], frames[1:]
        options |= {"save_all": True, "duration": 120, "loop": 0}
    elif variant.mode == "P":
        image = image.quantize(256)
    image.convert(variant.mode).save(path, **options)
    if variant is _TRUNCATED:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


def _with_noise(image: Image.Image, *, sigma: float, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    pixels = np.asarray(image) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _oval(size: Size) -> Image.Image:
    """Return an alpha channel: opaque inside an oval with a soft edge, transparent outside."""
    alpha = Image.new("L", size)
    width, height = size
    ImageDraw.Draw(alpha).ellipse((width // 20, height // 20, width * 19 // 20, height * 19 // 20), fill=255)
    return alpha.filter(ImageFilter.GaussianBlur(width / 100))


def _panned(image: Image.Image) -> list[Image.Image]:
    """Return the frames of a camera that pans across the image from left to right."""
    width, height = image.width * 3 // 4, image.height
    lefts = [index * (image.width - width) // (_GIF_FRAMES - 1) for index in range(_GIF_FRAMES)]
    return [image.crop((left, 0, left + width, height)).quantize(256) for left in lefts]


def phone_exif() -> Image.Exif:
    """Return metadata as a phone writes it: orientation, camera, time and place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    exif[ExifTags.Base.Model] = "Acme Phone 12"
    exif[ExifTags.Base.Orientation] = _ORIENTATION_ROTATED
    exif[ExifTags.Base.Software] = "AcmeOS 17.2"
    exif[ExifTags.Base.DateTime] = "2024:10:12 07:41:30"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:10:12 07:41:30"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", (47.0, 33.0, 24.5)
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "E", (10.0, 44.0, 58.2)
    return exif
