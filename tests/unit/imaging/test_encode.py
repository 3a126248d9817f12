import pytest
from PIL import ExifTags, Image, PngImagePlugin

from tests.support.pictures import difference, encoded, noise, opened, quadrants
from worker.decoder_pool.rendition_files import check_rendition_file
from worker.domain.recipe import Effort, Limits, OutputFormat, Recipe, Size, Subsampling
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


def photograph() -> Image.Image:
    """Return an image that is encoded as a photograph is: with colours at half the resolution."""
    return noise(40, 30).resize((400, 300), Image.Resampling.BICUBIC)


def is_progressive(content: bytes | bytearray | memoryview) -> bool:
    return b"\xff\xc2" in bytes(content)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_progressive_if_its_size_is(*, progressive: bool) -> None:
    size = Size("box", 400, 400, progressive=progressive)
    rendition = encode(Picture("box", photograph(), "jpeg"), size=size, quality=82)
    assert is_progressive(rendition.content) is progressive
    check_rendition_file(rendition.content, image_format="jpeg", extent=(400, 300))


@pytest.mark.parametrize("output_format", [OutputFormat.JPEG, OutputFormat.AVIF])
def test_subsampling_is_that_of_the_size(output_format: OutputFormat) -> None:
    lengths = [
        len(
            encode(
                Picture("box", photograph(), "jpeg"),
                size=Size("box", 400, 400, format=output_format, subsampling=subsampling),
                quality=90,
            ).content
        )
        for subsampling in (Subsampling.AUTO, Subsampling.HALF, Subsampling.HALF_ACROSS, Subsampling.FULL)
    ]
    assert lengths[0] == lengths[1] < lengths[2] < lengths[3]


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize(
    "output_format", [OutputFormat.JPEG, OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF]
)
def test_every_effort_makes_a_file_that_the_worker_process_accepts(
    output_format: OutputFormat, effort: Effort
) -> None:
    size = Size("box", 400, 400, format=output_format, progressive=True)
    rendition = encode(Picture("box", photograph(), "png"), size=size, quality=82, effort=effort)
    check_rendition_file(rendition.content, image_format=output_format, extent=(400, 300))
    assert difference(opened(rendition.content), photograph()) < 5


@pytest.mark.parametrize("output_format", [OutputFormat.JPEG, OutputFormat.PNG])
def test_more_effort_makes_the_same_pixels_smaller(output_format: OutputFormat) -> None:
    size = Size("box", 400, 400, format=output_format)
    low, high = (
        encode(Picture("box", photograph(), "png"), size=size, quality=82, effort=effort)
        for effort in (Effort.LOW, Effort.HIGH)
    )
    assert len(high.content) < len(low.content)
    assert opened(high.content).tobytes() == opened(low.content).tobytes()
