"""Pictures for a demo without any: a scene for each kind of file, and one that is broken on purpose."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from PIL import ExifTags, Image

from worker.local.scenes import cities, gardens, landscapes, nights
from worker.local.scenes.brushes import Size, grain

Scene: TypeAlias = Callable[[Size, Random], Image.Image]

BROKEN: Final = "broken-on-purpose.jpg"
_TURNED_TO_THE_RIGHT: Final = 6
"""The EXIF orientation of a phone that was held upright: the stored picture has to be turned clockwise."""


@dataclass(frozen=True, slots=True)
class Print:
    """
    One file to make.

    Attributes:
        name: Of the file.
        scene: What it shows.
        painted: The size that the scene is painted at, in pixels.
        enlarged: How many times larger the picture is, as a finer sensor would have taken it.
        grain: How strong the sensor's noise is; 0.1 shows in a print.
        mode: What the picture is converted to before it is saved.
        options: How it is saved, as Pillow takes it.
        from_phone: Whether it lies on its side and carries what a phone writes: camera, time, place.
    """

    name: str
    scene: Scene
    painted: Size
    _: KW_ONLY
    enlarged: float = 1.0
    grain: float = 0.06
    mode: str = "RGB"
    options: Mapping[str, Any] = field(default_factory=dict)
    from_phone: bool = False


_FINE: Final = {"quality": 90}
_PRINTS: Final = (
    Print("mountains-at-dawn.jpg", landscapes.mountains, (900, 600), enlarged=3, options=_FINE),
    Print(
        "sea-at-sunset-progressive.jpg",
        landscapes.sea,
        (1200, 800),
        enlarged=4 / 3,
        options={"quality": 88, "progressive": True},
    ),
    Print(
        "forest-from-a-phone.jpg",
        landscapes.forest,
        (750, 1000),
        enlarged=1.6,
        options=_FINE,
        from_phone=True,
    ),
    Print("dunes.webp", landscapes.dunes, (960, 640), enlarged=1.5, options={"quality": 84, "method": 1}),
    Print("night-sky.png", nights.stars, (1080, 720), grain=0.03, options={"compress_level": 1}),
    Print("aurora-portrait.jpg", nights.aurora, (700, 1050), enlarged=1.5, options=_FINE),
    Print("city-at-dusk.tiff", cities.city, (1200, 800), options={"compression": "tiff_lzw"}),
    Print("lightning.bmp", nights.storm, (1080, 720), grain=0.08),
    Print("city-lights.gif", cities.bokeh, (960, 640), grain=0.02, mode="P"),
    Print("lake-in-grey.jpg", gardens.lake, (1080, 720), enlarged=1.5, grain=0.09, mode="L", options=_FINE),
    Print("tulips-for-print-cmyk.jpg", gardens.tulips, (1200, 800), mode="CMYK", options=_FINE),
    Print("balloon-transparent.png", gardens.balloon, (800, 980), grain=0, mode="RGBA"),
    Print("stamp-sized-sea.png", landscapes.sea, (240, 160), grain=0.02),
    Print(BROKEN, landscapes.mountains, (900, 600), options=_FINE),
)


def generate(folder: Path, *, seed: int = 7) -> list[Path]:
    """
    Paint the pictures into a folder, which is made if it is not there; return their paths.

    Args:
        folder: Where they go; files of the same names are replaced.
        seed: The same seed gives the same pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _make(wanted, folder, rng=Random(f"{seed} {wanted.name}"))  # noqa: S311 - paint, not cryptography
        for wanted in _PRINTS
    ]


def _make(wanted: Print, folder: Path, *, rng: Random) -> Path:
    picture = wanted.scene(wanted.painted, rng)
    if wanted.enlarged > 1:
        width, height = (round(side * wanted.enlarged) for side in wanted.painted)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if wanted.mode == "L":
        picture = picture.convert("L")
    if wanted.grain:
        picture = grain(picture, strength=wanted.grain, rng=rng)
    if wanted.mode == "P":
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE)
    options = dict(wanted.options)
    if wanted.from_phone:
        picture, options["exif"] = picture.transpose(Image.Transpose.ROTATE_90), _phone_exif()
    path = folder / wanted.name
    picture.convert(wanted.mode).save(path, **options)
    if wanted.name == BROKEN:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


def _phone_exif() -> Image.Exif:
    """Return what a phone writes into a picture, none of which the world should see."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    exif[ExifTags.Base.Model] = "Acme Phone 12"
    exif[ExifTags.Base.Orientation] = _TURNED_TO_THE_RIGHT
    exif[ExifTags.Base.Software] = "AcmeOS 17.2"
    exif[ExifTags.Base.DateTime] = "2024:10:12 07:41:30"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:10:12 07:41:30"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", (47.0, 33.0, 24.5)
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "E", (10.0, 44.0, 58.2)
    return exif
