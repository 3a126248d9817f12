import io

from PIL import Image, ImageFont

from worker.domain.recipe import Watermark
from worker.imaging.fonts import Fonts, coverage, split_into_runs
from worker.imaging.watermark_text import text_tile
from worker.settings import FONT

DEJAVU = FONT.read_bytes()


def latin_only() -> bytes:
    """Return the font that Pillow carries: it has no Cyrillic."""
    font = ImageFont.load_default(20)
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert isinstance(font.path, io.BytesIO)
    return font.path.getvalue()


LATIN = latin_only()


def split(text: str, *files: bytes) -> list[tuple[str, bool]]:
    return [(run.text, run.file is files[0]) for run in split_into_runs(text, Fonts(files))]


def test_a_font_tells_which_characters_it_has() -> None:
    def has(file: bytes, character: str) -> bool:
        return any(first <= ord(character) <= last for first, last in coverage(file))

    assert [has(DEJAVU, one) for one in "aΩЖ漢"] == [True, True, True, False]
    assert [has(LATIN, one) for one in "aЖ"] == [True, False]


def test_nonsense_has_no_characters() -> None:
    for length in range(0, 400, 7):
        assert isinstance(coverage(LATIN[:length]), tuple)
    assert coverage(b"no font at all, but longer than a header") == ()


def test_one_font_writes_it_all() -> None:
    assert split("Привет", LATIN) == [("Привет", True)]


def test_each_character_goes_to_the_first_font_that_has_it() -> None:
    assert split("Hello Мир 漢", LATIN, DEJAVU) == [("Hello ", True), ("Мир ", False), ("漢", True)]


def test_marks_stay_with_their_letters() -> None:
    assert split("Ж\u0301a", LATIN, DEJAVU) == [("Ж\u0301", False), ("a", True)]


def test_a_text_that_begins_from_the_right_is_laid_out_from_the_right() -> None:
    assert [text for text, _ in split("שלום Hi", LATIN, DEJAVU)] == ["Hi", "שלום "]


def test_a_fallback_draws_what_the_first_font_cannot() -> None:
    def drawn(*files: bytes) -> Image.Image:
        return text_tile(Watermark("Ж"), height_px=40, fonts=Fonts(files)).alpha

    assert drawn(LATIN, DEJAVU).tobytes() == drawn(DEJAVU).tobytes()
    assert drawn(LATIN).tobytes() != drawn(DEJAVU).tobytes()
