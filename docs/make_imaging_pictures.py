"""
Make the images of `imaging.md` with the worker's own steps: `make docs-pictures`.

They show the output of the current code, so run it after a change of the imaging steps.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyvips
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from worker.domain.recipe import Anchor, Fit, Gravity, Limits, Logo, Size, Watermark
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Picture
from worker.imaging.resize import resize
from worker.imaging.validate import validate
from worker.imaging.watermark import watermark
from worker.local.demo_images import bundled_image
from worker.local.preview import checkered
from worker.settings import FONT

OUT: Final = Path(__file__).with_name("imaging")
FONTS: Final = Fonts((FONT.read_bytes(),))
BACKGROUND, TEXT = "#ffffff", "#24292f"
GAP, CAPTION_PX, TEXT_PX = 14, 22, 13

Example = tuple[str, Image.Image]
"""A caption and an image."""


def main() -> None:
    """Write all images into the folder `docs/imaging`."""
    OUT.mkdir(exist_ok=True)
    lake, tulips, sea, forest = (
        _file(bundled_image(name).reduce(2)) for name in ("lake", "tulips", "sea", "forest")
    )
    _save("fits", [_fit(lake, fit) for fit in Fit], columns=4)
    _save("gravity", [_gravity(tulips, Gravity(anchor)) for anchor in Anchor], columns=9)
    _save("smart", list(_smart()), columns=8)
    _save("anchors", [_position(sea, anchor) for anchor in Anchor], columns=3)
    _save("tiling", _tilings(lake), columns=3)
    _save("opacity", _opacities(sea), columns=4)
    _save("logos", _logos((sea, forest, lake)), columns=3)


def _fit(content: bytes, fit: Fit) -> Example:
    size = Size("box", 210, 210, fit=fit, background="#d8dee4")
    picture = _resized(content, size).image
    box = Image.new("RGB", (212, 212), BACKGROUND)
    box.paste(picture, ((212 - picture.width) // 2, (212 - picture.height) // 2))
    ImageDraw.Draw(box).rectangle((0, 0, 211, 211), outline="#d1242f")
    return fit.value, box


def _gravity(content: bytes, gravity: Gravity) -> Example:
    size = Size("box", 92, 140, fit=Fit.COVER, gravity=gravity)
    return gravity.value, _resized(content, size).image


def _smart() -> Iterator[Example]:
    """Yield crops of each bundled image to two shapes: in the middle, by libvips, and by smart gravity."""
    images = [bundled_image(name) for name in ("lake", "tulips", "sea", "forest", "mountains")]
    for image in (_with_person(images[4], 0.15), _with_person(images[0], 0.8), *images):
        content = _file(image)
        for width, height in ((116, 116), (116, 56)):
            middle = Size("box", width, height, fit=Fit.COVER)
            yield "center", _resized(content, middle).image
            for interest in ("attention", "entropy"):
                loaded = pyvips.Image.new_from_buffer(content, "")
                cropped = loaded.thumbnail_image(width, height=height, crop=interest)
                pixels = cropped.write_to_memory()
                yield f"libvips {interest}", Image.frombytes("RGB", (width, height), pixels)
            yield "smart", _resized(content, replace(middle, gravity=Gravity.SMART)).image


def _with_person(landscape: Image.Image, across: float) -> Image.Image:
    """Return the landscape with a drawn head and shoulders before it."""
    image = landscape.copy()
    draw = ImageDraw.Draw(image)
    x, y, unit = image.width * across, image.height * 0.42, image.height / 24

    def oval(left: float, top: float, right: float, bottom: float, colour: str) -> None:
        draw.ellipse((x + left * unit, y + top * unit, x + right * unit, y + bottom * unit), fill=colour)

    oval(-5.5, 4.2, 5.5, 26, "#39507a")
    draw.rectangle((x - 1.1 * unit, y + 2 * unit, x + 1.1 * unit, y + 5.4 * unit), fill="#c18f72")
    oval(-3.2, -4.2, 3.2, 3, "#4a3527")
    oval(-2.5, -2.8, 2.5, 4, "#d7a587")
    for eye in (-1, 1):
        oval(eye - 0.4, -0.3, eye + 0.4, 0.3, "#2b2422")
    oval(-1, 1.9, 1, 2.4, "#a5544f")
    return image.filter(ImageFilter.GaussianBlur(unit / 12))


def _position(content: bytes, anchor: Anchor) -> Example:
    return _watermarked(content, anchor.value, Watermark("Jane Doe", position=anchor, height_share=0.11))


def _tilings(content: bytes) -> list[Example]:
    tiled = Watermark("Jane Doe", tiled=True, height_share=0.07, opacity=0.4)
    return [
        _watermarked(content, "tiled", tiled),
        _watermarked(content, "tiled, rotated by 30 degrees", replace(tiled, rotation_deg=30)),
        _watermarked(content, "a logo, tiled", replace(tiled, logo=_logo(), logo_share=0.22)),
    ]


def _opacities(content: bytes) -> list[Example]:
    plain = Watermark("Jane Doe", position=Anchor.CENTER, height_share=0.22)
    return [
        *(
            _watermarked(content, f"opacity {share}", replace(plain, opacity=share))
            for share in (0.2, 0.55, 1.0)
        ),
        _watermarked(content, "no outline", replace(plain, outline=None, opacity=0.55)),
        _watermarked(
            content, "orange on blue", replace(plain, colour="#ff8c00", outline="#003366", opacity=0.9)
        ),
        _watermarked(content, "Greek", replace(plain, text="Ιωάννα Ντόε")),
        _watermarked(content, "Cyrillic", replace(plain, text="Жанна Доу")),
        _watermarked(content, "Arabic, joined", replace(plain, text="جين دو")),
    ]


def _logos(contents: Sequence[bytes]) -> list[Example]:
    mark = Watermark("", logo=_logo(), opacity=0.9, logo_share=0.3)
    landscape, portrait, other = contents
    transparent = _file(_half_transparent(other), image_format="PNG")
    return [
        _watermarked(landscape, "landscape", mark),
        _watermarked(portrait, "portrait: same size", mark),
        _watermarked(transparent, "on transparency", replace(mark, position=Anchor.RIGHT)),
    ]


def _watermarked(content: bytes, caption: str, mark: Watermark) -> Example:
    picture = _resized(content, Size("box", 270, 270))
    watermark((picture,), mark=mark, fonts=FONTS)
    if picture.image.mode == "RGBA":
        background = checkered(picture.image.size)
        background.paste(picture.image, mask=picture.image.getchannel("A"))
        return caption, background
    return caption, picture.image


def _resized(content: bytes, size: Size) -> Picture:
    decoded, _ = validate(content, limits=Limits(), sizes=(size,))
    (picture,), _ = resize(decoded, sizes=(size,))
    return picture


def _logo() -> Logo:
    drawn = Image.new("RGBA", (1000, 400))
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((20, 40, 340, 360), fill="#ffffff", outline="#0b3d91", width=28)
    draw.polygon([(90, 280), (180, 120), (270, 280)], fill="#0b3d91")
    font = ImageFont.truetype(io.BytesIO(FONTS.files[0]), 170)
    draw.text((370, 100), "ACME", fill="#ffffff", font=font, stroke_width=10, stroke_fill="#0b3d91")
    return Logo("s3://image-uploads/logos/acme.png", e_tag="1", content=_file(drawn, image_format="PNG"))


def _half_transparent(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    return image


def _file(image: Image.Image, image_format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def _save(name: str, examples: Sequence[Example], *, columns: int) -> None:
    """Arrange the examples in rows, each with its caption below, and save them as one image."""
    rows = [examples[at : at + columns] for at in range(0, len(examples), columns)]
    font = ImageFont.truetype(io.BytesIO(FONTS.files[0]), TEXT_PX)
    widths = [max(picture.width for _, picture in row) for row in rows]
    cell_px = max(*widths, *(int(font.getlength(caption)) for caption, _ in examples))
    heights = [max(picture.height for _, picture in row) + CAPTION_PX + GAP for row in rows]
    sheet = Image.new("RGB", (columns * (cell_px + GAP) + GAP, sum(heights) + GAP), BACKGROUND)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (caption, picture) in enumerate(row):
            left = GAP + column * (cell_px + GAP)
            sheet.paste(picture, (left + (cell_px - picture.width) // 2, top))
            at = (left + cell_px / 2, top + height - GAP - CAPTION_PX / 2)
            ImageDraw.Draw(sheet).text(at, caption, fill=TEXT, font=font, anchor="mm")
        top += height
    sheet.save(OUT / f"{name}.webp", quality=86, method=6)


if __name__ == "__main__":
    main()
