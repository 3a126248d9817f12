"""The sheet of pictures before and after."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from worker.local import contact_sheet as sheets
from worker.local.contact_sheet import Pair, contact_sheet

RED, BLUE = (220, 30, 30), (30, 30, 220)


def encoded(colour: tuple[int, int, int], size: tuple[int, int] = (400, 300)) -> bytes:
    content = BytesIO()
    Image.new("RGB", size, colour).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(encoded(RED))
    return path


def a_pair(upload: Path, *, name: str = "red.png") -> Pair:
    return Pair(
        name=name,
        before=upload,
        after=encoded(BLUE),
        before_size=(400, 300),
        after_size=(400, 300),
        before_bytes=2_048_576,
        after_bytes=82_120,
        elapsed_ms=197,
    )


def drawn(pairs: list[Pair], folder: Path) -> Image.Image:
    path = folder / "sheet.png"
    contact_sheet(pairs, path=path)
    with Image.open(path) as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        return sheet


def colours(sheet: Image.Image) -> set[object]:
    return {colour for _, colour in sheet.getcolors(1 << 24) or []}


def test_before_stands_on_the_left_of_after(upload: Path, tmp_path: Path) -> None:
    sheet = drawn([a_pair(upload)], tmp_path)
    middle = sheets._HEADER + sheets._PADDING + sheets._CELL[1] // 2
    assert sheet.getpixel((sheet.width // 4, middle)) == RED
    assert sheet.getpixel((sheet.width * 3 // 4, middle)) == BLUE


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 2, 3), (7, 3, 3), (60, 3, 20)]
)
def test_the_sheet_grows_with_its_pictures(
    upload: Path, tmp_path: Path, count: int, columns: int, rows: int
) -> None:
    sheet = drawn([a_pair(upload)] * count, tmp_path)
    wide, high = sheets._CARD
    gap = sheets._GAP
    assert sheet.size == (columns * (wide + gap) + gap, sheets._HEADER + rows * (high + gap))


def test_a_sheet_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    assert drawn([], tmp_path).height == sheets._HEADER


def test_a_failure_shows_its_reason_in_place_of_the_result(upload: Path, tmp_path: Path) -> None:
    refused = Pair(
        name="red.png",
        before=upload,
        elapsed_ms=31,
        error_code="truncated",
        error_message="the file ends before the picture does; upload it again, whole",
    )
    shown = colours(drawn([refused], tmp_path))
    assert {RED, sheets._BAD, sheets._BAD_CELL} <= shown
    assert BLUE not in shown


def test_a_file_that_cannot_be_opened_does_not_break_the_sheet(tmp_path: Path) -> None:
    text = tmp_path / "notes.heic"
    text.write_text("not a picture")
    gone = Pair(name="gone.jpg", before=tmp_path / "gone.jpg", after=b"broken")
    assert drawn([Pair(name=text.name, before=text), gone], tmp_path).width > 0


def test_the_result_may_be_a_file(upload: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    result.write_bytes(encoded(BLUE))
    assert BLUE in colours(drawn([Pair(name="red.png", before=upload, after=result)], tmp_path))


def test_the_totals_count_what_was_done_and_what_failed(upload: Path) -> None:
    failed = Pair(name="x", before=upload, before_bytes=9_000_000, error_code="corrupt", elapsed_ms=3)
    assert sheets._totals([a_pair(upload), a_pair(upload), failed]) == (
        "3 pictures  ·  2 done, 4.1 MB → 164 kB  ·  1 failed  ·  median 197 ms"
    )
    assert sheets._totals([failed]) == "1 picture  ·  1 failed"


def test_a_caption_tells_size_kind_and_bytes(upload: Path) -> None:
    shown = sheets.preview(upload, box=(50, 50))
    assert sheets._described((4032, 3024), shown, ".jpg", 2_100_000) == "4032x3024 PNG 2.1 MB"
    assert sheets._described(None, shown, ".jpg", None) == "400x300 PNG"
    assert sheets._described(None, None, ".heic", 2_200_000) == "HEIC 2.2 MB"


def test_a_long_name_is_cut_in_its_middle() -> None:
    cut = sheets._cut("holiday-in-the-mountains-" * 6 + "0042.jpeg", 18, 300)
    assert cut.startswith("holiday")
    assert "…" in cut
    assert cut.endswith("0042.jpeg")
    assert sheets._font(18).getlength(cut) <= 300


def test_a_reason_is_wrapped_and_even_an_endless_word_fits() -> None:
    lines = sheets._wrapped("the picture is damaged: " + "x" * 200, 15, 300)
    assert len(lines) == 2
    assert all(sheets._font(15).getlength(line) <= 300 for line in lines)
