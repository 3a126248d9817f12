import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from config.settings import FONT
from tests.pictures import noise
from worker.domain.recipe import Watermark
from worker.domain.status import StepMove
from worker.imaging.picture import Extent, Picture
from worker.imaging.watermark import margin_px, mark_image, text_height_px, watermark

FONT_FILE = FONT.read_bytes()
MARK = Watermark("Processed by Image Platform")


def plain(width: int, height: int, colour: object = "black", mode: str = "RGB") -> Picture:
    return Picture("medium", Image.new(mode, (width, height), colour), "png")  # type: ignore[arg-type]


def touched(image: Image.Image, before: Image.Image) -> tuple[int, int, int, int] | None:
    bands = zip(image.split(), before.split(), strict=True)
    changed = Image.new("L", image.size)
    for one, other in bands:
        changed = ImageChops.lighter(changed, ImageChops.difference(one, other))
    return changed.getbbox()


def marked(picture: Picture, mark: Watermark | None = MARK) -> tuple[StepMove, object]:
    (_, *_), note = watermark((picture,), mark=mark, font=FONT_FILE)
    return note.move, note.detail


def test_the_record_says_what_was_written() -> None:
    assert marked(plain(800, 600)) == (
        StepMove.COMPLETED,
        {"watermarkType": "text", "watermarkText": "Processed by Image Platform"},
    )


@pytest.mark.parametrize("mark", [None, Watermark("  \n ")])
def test_without_a_text_the_step_is_skipped(mark: Watermark | None) -> None:
    picture = plain(800, 600)
    assert marked(picture, mark) == (StepMove.SKIPPED, {"reason": "disabled"})
    assert picture.image.getbbox() is None


def test_where_it_could_not_be_read_the_step_is_skipped() -> None:
    picture = plain(150, 150)
    assert marked(picture) == (StepMove.SKIPPED, {"reason": "picture too small"})
    assert picture.image.getbbox() is None


def test_a_text_too_long_for_the_width_is_skipped() -> None:
    assert marked(plain(800, 600), Watermark("long " * 100))[0] is StepMove.SKIPPED


def test_a_small_further_size_does_not_unsay_the_mark_on_the_main_one() -> None:
    main, further = plain(800, 600), plain(100, 100)
    _, note = watermark((main, further), mark=MARK, font=FONT_FILE)
    assert note.move is StepMove.COMPLETED
    assert main.image.getbbox() is not None
    assert further.image.getbbox() is None


def test_it_stands_at_the_bottom_right_within_its_margin() -> None:
    picture = plain(800, 600)
    marked(picture)
    left, top, right, bottom = picture.image.getbbox() or (0, 0, 0, 0)
    assert left > 300
    assert top > 540
    assert 780 <= right <= 800 - margin_px(Extent(800, 600))
    assert 580 <= bottom <= 600 - margin_px(Extent(800, 600))


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (1920, 1080), (300, 1200)])
def test_its_height_follows_the_shorter_side_until_the_width_runs_out(size: tuple[int, int]) -> None:
    height = text_height_px(Extent(*size), mark=MARK, font=FONT_FILE)
    wanted = round(min(size) * MARK.height_share)
    assert height == wanted or (height < wanted and size[0] < 500)


@pytest.mark.parametrize("level", [0, 90, 160, 255])
def test_it_can_be_told_from_any_background(level: int) -> None:
    picture = plain(800, 600, (level, level, level))
    before = picture.image.copy()
    marked(picture)
    low, high = ImageChops.difference(picture.image, before).convert("L").getextrema()
    assert low == 0
    assert isinstance(high, int)
    assert high >= 50


def test_the_picture_shines_through() -> None:
    picture = plain(800, 600)
    marked(picture, Watermark("IIIII", opacity=0.4))
    assert abs(picture.image.convert("L").getextrema()[1] - round(255 * 0.4)) <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_nothing_outside_its_box_is_touched(mode: str) -> None:
    image = noise(800, 600, mode=mode)
    before = image.copy()
    mark_image(image, mark=MARK, font=FONT_FILE)
    left, top, _, _ = touched(image, before) or (0, 0, 0, 0)
    assert (left > 300, top > 540) == (True, True)


def test_on_a_transparent_picture_the_text_itself_is_visible() -> None:
    picture = plain(800, 600, (0, 0, 0, 0), "RGBA")
    marked(picture)
    _, alpha_high = picture.image.getchannel("A").getextrema()
    assert abs(alpha_high - round(255 * MARK.opacity)) <= 2
    assert picture.image.getpixel((10, 10)) == (0, 0, 0, 0)


def test_an_opaque_picture_with_an_alpha_channel_stays_opaque() -> None:
    picture = plain(800, 600, (10, 20, 30, 255), "RGBA")
    marked(picture)
    assert picture.image.getchannel("A").getextrema() == (255, 255)


def test_breaks_and_control_characters_become_spaces() -> None:
    assert marked(plain(800, 600), Watermark("one\ntwo\0three\ud800"))[1] == {
        "watermarkType": "text",
        "watermarkText": "one two three",
    }


def test_a_font_is_read_from_memory() -> None:
    assert io.BytesIO(FONT_FILE).read(4) == b"\0\x01\0\0"


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 1500),
    height=st.integers(1, 1500),
    text=st.text(min_size=1, max_size=30).filter(str.strip),
    share=st.floats(0.01, 0.3),
)
def test_it_never_leaves_the_picture_or_its_margin(width: int, height: int, text: str, share: float) -> None:
    picture = plain(width, height)
    watermark((picture,), mark=Watermark(text, height_share=share), font=FONT_FILE)
    box = picture.image.getbbox()
    margin = margin_px(Extent(width, height))
    if box is not None:
        left, top, right, bottom = box
        assert left >= margin
        assert top >= margin
        assert right <= width - margin
        assert bottom <= height - margin
