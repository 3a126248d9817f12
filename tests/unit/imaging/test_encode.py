import pytest
from PIL import ExifTags, Image, PngImagePlugin

from tests.support.pictures import difference, encoded, noise, opened, quadrants
from worker.domain.recipe import Limits, Recipe, Size
from worker.domain.step import EncodedRendition
from worker.imaging.encode import encode
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Picture
from worker.imaging.pipeline import process

MEDIUM = Size("medium", 800, 600)
RECIPE = Recipe(sizes=(MEDIUM,), watermark=None)


def rendition_of(content: bytes) -> EncodedRendition:
    outputs = process(content, RECIPE, limits=Limits(), fonts=Fonts(()))
    return next(output for output in outputs if isinstance(output, EncodedRendition))


@pytest.mark.parametrize(
    ("source", "mode", "expected"),
    [
        ("jpeg", "RGB", "jpeg"),
        ("png", "RGB", "png"),
        ("png", "RGBA", "png"),
        ("webp", "RGB", "webp"),
        ("webp", "RGBA", "webp"),
        ("gif", "RGB", "png"),
        ("gif", "RGBA", "png"),
        ("tiff", "RGB", "jpeg"),
        ("tiff", "RGBA", "png"),
        ("bmp", "RGB", "jpeg"),
    ],
)
def test_the_format_follows_the_source_format_and_transparency(source: str, mode: str, expected: str) -> None:
    gradient = noise(6, 4).resize((200, 100), Image.Resampling.BICUBIC)
    image = gradient if source in {"tiff", "bmp"} and mode == "RGB" else quadrants(200, 100, mode)
    picture = Picture("medium", image, source)
    rendition = encode(picture, size=MEDIUM, quality=82)
    assert (rendition.size, rendition.width, rendition.height) == ("medium", 200, 100)
    image = opened(rendition.content)
    assert (rendition.format, image.format, image.size) == (expected, expected.upper(), (200, 100))
    assert difference(image, picture.image) < 4


def test_a_lower_quality_makes_a_smaller_file() -> None:
    picture = Picture("medium", quadrants(200, 100).rotate(30), "jpeg")
    assert len(encode(picture, size=MEDIUM, quality=40).content) < len(
        encode(picture, size=MEDIUM, quality=95).content
    )


def test_renditions_carry_no_metadata() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Secret"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "Secret")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">Secret</x:xmpmeta>'
    for content in (
        encoded(quadrants(), "JPEG", exif=exif, comment=b"Secret", dpi=(1, 1), xmp=xmp),
        encoded(quadrants(), "PNG", exif=exif, pnginfo=text, dpi=(1, 1)),
        encoded(quadrants(), "WEBP", exif=exif, xmp=xmp),
        encoded(quadrants(), "TIFF", exif=exif, description="Secret"),
        encoded(quadrants(), "GIF", comment=b"Secret"),
    ):
        assert b"Secret" in content
        stored = bytes(rendition_of(content).content)
        assert b"Secret" not in stored
        assert not opened(stored).getexif()
        assert set(opened(stored).info) <= {
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
            "background",
            "loop",
            "timestamp",
            "duration",
        }
