from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from tests.support.pictures import encoded, extrema, noise
from worker.domain.recipe import Anchor, Logo, Watermark
from worker.domain.status import StepMove
from worker.imaging.fonts import Fonts
from worker.imaging.picture import Extent, Picture, TimedImage
from worker.imaging.watermark import margin_px, mark_image, text_height_px, watermark
from worker.settings import FONT

FONTS = Fonts((FONT.read_bytes(),))
MARK = Watermark("Processed by Image Platform")


def plain(width: int, height: int, colour: str | tuple[int, ...] = "black", mode: str = "RGB") -> Picture:
    return Picture("medium", Image.new(mode, (width, height), colour), "png")


def changed_box(image: Image.Image, before: Image.Image) -> tuple[int, int, int, int] | None:
    bands = zip(image.split(), before.split(), strict=True)
    changed = Image.new("L", image.size)
    for after, earlier in bands:
        changed = ImageChops.lighter(changed, ImageChops.difference(after, earlier))
    return changed.getbbox()


def mark_and_note(picture: Picture, mark: Watermark | None = MARK) -> tuple[StepMove, object]:
    (_, *_), note = watermark((picture,), mark=mark, fonts=FONTS)
    return note.move, note.detail


def test_the_text_is_recorded() -> None:
    assert mark_and_note(plain(800, 600)) == (
        StepMove.COMPLETED,
        {"watermarkType": "text", "watermarkText": "Processed by Image Platform"},
    )


@pytest.mark.parametrize("mark", [None, Watermark("  \n ")])
def test_without_a_watermark_or_text_the_step_is_skipped(mark: Watermark | None) -> None:
    picture = plain(800, 600)
    assert mark_and_note(picture, mark) == (StepMove.SKIPPED, {"reason": "disabled"})
    assert picture.image.getbbox() is None


def test_a_picture_too_small_for_legible_text_is_skipped() -> None:
    picture = plain(150, 150)
    assert mark_and_note(picture) == (StepMove.SKIPPED, {"reason": "image too small for a legible watermark"})
    assert picture.image.getbbox() is None


def test_a_text_too_long_for_the_width_is_skipped() -> None:
    assert mark_and_note(plain(800, 600), Watermark("long " * 100))[0] is StepMove.SKIPPED


def test_an_unmarked_smaller_size_does_not_change_the_note_of_the_main_size() -> None:
    main, smaller = plain(800, 600), plain(100, 100)
    _, note = watermark((main, smaller), mark=MARK, fonts=FONTS)
    assert note.move is StepMove.COMPLETED
    assert main.image.getbbox() is not None
    assert smaller.image.getbbox() is None


def test_the_text_is_at_the_bottom_right_within_the_margin() -> None:
    picture = plain(800, 600)
    mark_and_note(picture)
    left, top, right, bottom = picture.image.getbbox() or (0, 0, 0, 0)
    assert left > 300
    assert top > 540
    assert 780 <= right <= 800 - margin_px(Extent(800, 600))
    assert 580 <= bottom <= 600 - margin_px(Extent(800, 600))


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (1920, 1080), (300, 1200)])
def test_the_text_height_is_a_share_of_the_shorter_side_if_the_width_allows_it(size: tuple[int, int]) -> None:
    height = text_height_px(Extent(*size), mark=MARK, fonts=FONTS)
    configured = round(min(size) * MARK.height_share)
    assert height == configured or (height < configured and size[0] < 500)


@pytest.mark.parametrize("level", [0, 90, 160, 255])
def test_the_text_is_visible_on_any_background(level: int) -> None:
    picture = plain(800, 600, (level, level, level))
    before = picture.image.copy()
    mark_and_note(picture)
    low, high = extrema(ImageChops.difference(picture.image, before).convert("L"))
    assert low == 0
    assert high >= 50


def test_the_opacity_of_the_text_is_applied() -> None:
    picture = plain(800, 600)
    mark_and_note(picture, Watermark("IIIII", opacity=0.4))
    assert abs(extrema(picture.image.convert("L"))[1] - round(255 * 0.4)) <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_only_pixels_below_the_text_are_changed(mode: str) -> None:
    image = noise(800, 600, mode=mode)
    before = image.copy()
    mark_image(image, mark=MARK, fonts=FONTS)
    left, top, _, _ = changed_box(image, before) or (0, 0, 0, 0)
    assert (left > 300, top > 540) == (True, True)


def test_the_text_is_visible_on_a_transparent_picture() -> None:
    picture = plain(800, 600, (0, 0, 0, 0), "RGBA")
    mark_and_note(picture)
    _, alpha_high = extrema(picture.image.getchannel("A"))
    assert abs(alpha_high - round(255 * MARK.opacity)) <= 2
    assert picture.image.getpixel((10, 10)) == (0, 0, 0, 0)


def test_an_opaque_picture_with_an_alpha_channel_stays_opaque() -> None:
    picture = plain(800, 600, (10, 20, 30, 255), "RGBA")
    mark_and_note(picture)
    assert extrema(picture.image.getchannel("A")) == (255, 255)


def test_line_breaks_and_control_characters_become_spaces() -> None:
    assert mark_and_note(plain(800, 600), Watermark("one\ntwo\0three\ud800"))[1] == {
        "watermarkType": "text",
        "watermarkText": "one two three",
    }


LOGO_FILE = encoded(Image.new("RGBA", (120, 60), (255, 0, 0, 255)), "PNG")
LOGO = Logo("s3://bucket/logos/acme.png", e_tag="1", content=LOGO_FILE)


@pytest.mark.parametrize("anchor", Anchor)
@pytest.mark.parametrize("mark", [Watermark("Text"), Watermark("", logo=LOGO, opacity=1.0)])
def test_the_watermark_is_at_its_position(anchor: Anchor, mark: Watermark) -> None:
    picture = plain(800, 600, "grey")
    before = picture.image.copy()
    mark_and_note(picture, replace(mark, position=anchor))
    left, top, right, bottom = changed_box(picture.image, before) or (0, 0, 0, 0)
    across, down = anchor.point
    assert abs((left + right) / 2 - {0: right / 2, 0.5: 400, 1: (left + 800) / 2}[across]) <= 14
    assert abs((top + bottom) / 2 - {0: bottom / 2, 0.5: 300, 1: (top + 600) / 2}[down]) <= 14


def test_a_logo_is_drawn_and_recorded() -> None:
    picture = plain(800, 600, (0, 0, 255))
    assert mark_and_note(picture, Watermark("Text", logo=LOGO, opacity=0.5)) == (
        StepMove.COMPLETED,
        {"watermarkType": "image", "watermarkImage": "s3://bucket/logos/acme.png"},
    )
    left, top, right, bottom = picture.image.getchannel("R").getbbox() or (0, 0, 0, 0)
    assert (right - left, bottom - top) == (120, 60)
    assert picture.image.getpixel((730, 560)) == (128, 0, 127)


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (1200, 600)])
def test_a_logo_is_as_large_on_landscape_as_on_portrait(size: tuple[int, int]) -> None:
    picture = plain(*size)
    mark_and_note(picture, Watermark("", logo=LOGO, opacity=1.0))
    left, _, right, _ = picture.image.getbbox() or (0, 0, 0, 0)
    assert right - left == 120


def test_the_text_replaces_a_logo_that_cannot_be_used_and_the_reason_is_recorded() -> None:
    picture = plain(800, 600)
    assert mark_and_note(
        picture, Watermark("Text", logo=replace(LOGO, e_tag="2", content=LOGO_FILE[:70]))
    ) == (
        StepMove.COMPLETED,
        {
            "watermarkType": "text",
            "watermarkText": "Text",
            "reason": f"logo {LOGO.source} cannot be used: truncated",
        },
    )
    assert picture.image.getbbox() is not None


def test_without_a_text_a_missing_logo_skips_the_step_with_the_reason() -> None:
    missing = Watermark("", logo=Logo("s3://bucket/none.png", e_tag="missing"))
    assert mark_and_note(plain(800, 600), missing) == (
        StepMove.SKIPPED,
        {"reason": "logo s3://bucket/none.png cannot be used: missing"},
    )


def test_the_text_height_has_a_minimum_and_a_maximum() -> None:
    small, large = Extent(300, 200), Extent(4000, 3000)
    mark = replace(MARK, text="Jane", min_px=14, max_px=40)
    assert text_height_px(small, mark=mark, fonts=FONTS) == 14
    assert text_height_px(large, mark=mark, fonts=FONTS) == 40


def test_a_picture_below_the_minimum_side_is_skipped_with_the_reason() -> None:
    mark = replace(MARK, min_side_px=601)
    assert mark_and_note(plain(800, 600), mark) == (
        StepMove.SKIPPED,
        {"reason": "image too small for a legible watermark"},
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_tiled_text_covers_the_whole_picture(mode: str) -> None:
    picture = plain(800, 600, "black", mode)
    mark_and_note(picture, replace(MARK, text="Jane", tiled=True))
    light = picture.image.convert("L").point(lambda level: 255 if level > 60 else 0)
    for box in ((0, 0, 250, 200), (550, 0, 800, 200), (0, 400, 250, 600), (300, 200, 500, 400)):
        assert light.crop(box).getbbox() is not None


def test_the_text_can_be_rotated() -> None:
    picture = plain(800, 600)
    mark_and_note(picture, replace(MARK, text="Jane and John Doe", rotation_deg=90, position=Anchor.CENTER))
    left, top, right, bottom = picture.image.getbbox() or (0, 0, 0, 0)
    assert bottom - top > 3 * (right - left)


def test_letters_and_outline_have_the_configured_colours() -> None:
    picture = plain(800, 600, (128, 128, 128))
    mark = replace(MARK, text="III", colour="#ff0000", outline="#0000ff", opacity=1.0)
    mark_and_note(picture, mark)
    counts = picture.image.getcolors(1 << 20) or []
    colours = {colour for _, colour in counts if isinstance(colour, tuple)}
    assert (255, 0, 0) in colours
    assert any(blue > 200 and red < 60 for red, _, blue in colours)


def test_the_outline_can_be_disabled() -> None:
    picture = plain(800, 600, (200, 200, 200))
    mark_and_note(picture, replace(MARK, outline=None, opacity=1.0))
    low, _ = picture.image.convert("L").getextrema()
    assert low == 200


@pytest.mark.parametrize("text", ["Δοκιμή", "Проба", "Świętość", "שלום", "مرحبا"])
def test_scripts_other_than_latin_are_drawn(text: str) -> None:
    picture = plain(800, 600)
    assert mark_and_note(picture, Watermark(text))[0] is StepMove.COMPLETED
    assert picture.image.getbbox() is not None


def test_every_frame_gets_the_watermark() -> None:
    frames = tuple(TimedImage(Image.new("RGB", (400, 300)), 40) for _ in range(3))
    picture = Picture("medium", Image.new("RGB", (400, 300)), "gif", frames=frames)
    mark_and_note(picture)
    assert len({image.tobytes() for image in picture.images}) == 1
    assert all(image.getbbox() for image in picture.images)


@settings(deadline=None, max_examples=100)
@given(
    width=st.integers(1, 1500),
    height=st.integers(1, 1500),
    text=st.text(min_size=1, max_size=30).filter(str.strip),
    share=st.floats(0.01, 0.3),
    position=st.sampled_from(Anchor),
    tiled=st.booleans(),
    rotation_deg=st.integers(-180, 180),
    logo=st.none() | st.just(LOGO),
)
def test_the_watermark_never_exceeds_the_picture_or_its_margin(
    width: int,
    height: int,
    text: str,
    share: float,
    position: Anchor,
    tiled: bool,
    rotation_deg: int,
    logo: Logo | None,
) -> None:
    picture = plain(width, height)
    mark = Watermark(
        text,
        height_share=share,
        logo_share=share,
        position=position,
        tiled=tiled,
        rotation_deg=rotation_deg,
        logo=logo,
    )
    watermark((picture,), mark=mark, fonts=FONTS)
    box = picture.image.getbbox()
    margin = margin_px(Extent(width, height))
    if box is not None:
        left, top, right, bottom = box
        assert left >= margin
        assert top >= margin
        assert right <= width - margin
        assert bottom <= height - margin
