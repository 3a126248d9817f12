import io

from PIL import Image, ImageFont

from worker.domain.recipe import Watermark
from worker.imaging.fonts import Fonts, coverage, split_into_runs
from worker.imaging.watermark_text import text_tile
from worker.settings import FONT

DEJAVU = FONT.read_bytes()


def latin_only() -> bytes:
    """Return Pillow's default font, which has no Cyrillic."""
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert isinstance(font.path, io.BytesIO)
    return font.path.getvalue()


LATIN = latin_only()


def split(text: str, *files: bytes) -> list[tuple[str, bool]]:
    return [(run.text, run.file is files[0]) for run in split_into_runs(text, Fonts(files))]


def test_the_coverage_of_a_font_is_read_from_its_character_map() -> None:
    def has(file: bytes, character: str) -> bool:
        return any(first <= ord(character) <= last for first, last in coverage(file))

    assert [has(DEJAVU, character) for character in "aΩЖ漢"] == [True, True, True, False]
    assert [has(LATIN, character) for character in "aЖ"] == [True, False]


def test_a_damaged_font_has_no_coverage() -> None:
    for length in range(0, 400, 7):
        assert isinstance(coverage(LATIN[:length]), tuple)
    assert coverage(b"not a font, but longer than a header") == ()


def test_a_single_font_is_used_for_the_whole_text() -> None:
    assert split("Привет", LATIN) == [("Привет", True)]


def test_each_character_gets_the_first_font_that_has_it() -> None:
    assert split("Hello Мир 漢", LATIN, DEJAVU) == [("Hello ", True), ("Мир ", False), ("漢", True)]


def test_combining_marks_stay_with_their_letters() -> None:
    assert split("Ж\u0301a", LATIN, DEJAVU) == [("Ж\u0301", False), ("a", True)]


def test_runs_of_a_right_to_left_text_are_in_visual_order() -> None:
    assert [text for text, _ in split("שלום Hi", LATIN, DEJAVU)] == ["Hi", "שלום "]


def test_a_fallback_font_draws_what_the_first_font_cannot() -> None:
    def drawn(*files: bytes) -> Image.Image:
        return text_tile(Watermark("Ж"), height_px=40, fonts=Fonts(files)).alpha

    assert drawn(LATIN, DEJAVU).tobytes() == drawn(DEJAVU).tobytes()
    assert drawn(LATIN).tobytes() != drawn(DEJAVU).tobytes()
