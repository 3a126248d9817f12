"""The contact sheet: each image before and after."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

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


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The texts drawn on the sheet, each with its width in pixels."""
    found: list[tuple[str, float]] = []
    draw = ImageDraw.ImageDraw.text

    def record(self: ImageDraw.ImageDraw, xy: Any, text: str, **options: Any) -> None:
        found.append((text, options["font"].getlength(text)))
        draw(self, xy, text, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return found


def a_pair(upload: Path, *, name: str = "red.png") -> Pair:
    return Pair(
        name=name,
        before=upload,
        after=encoded(BLUE),
        before_size=(4032, 3024),
        after_size=(400, 300),
        before_bytes=2_048_576,
        after_bytes=82_120,
        elapsed_ms=197,
    )


def a_failure(upload: Path, *, message: str = "the file ends early; upload it again") -> Pair:
    return Pair(
        name="red.png",
        before=upload,
        before_bytes=9_000_000,
        elapsed_ms=31,
        error_code="truncated",
        error_message=message,
    )


def drawn(pairs: list[Pair], folder: Path) -> Image.Image:
    path = folder / "sheet.png"
    contact_sheet(pairs, path=path)
    with Image.open(path) as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        return sheet


def columns_of(colour: tuple[int, int, int], sheet: Image.Image) -> set[int]:
    """Return the x coordinates at which a colour occurs."""
    return {
        x for x in range(sheet.width) for y in range(0, sheet.height, 20) if sheet.getpixel((x, y)) == colour
    }


def test_before_is_to_the_left_of_after(upload: Path, tmp_path: Path) -> None:
    sheet = drawn([a_pair(upload)], tmp_path)
    before, after = columns_of(RED, sheet), columns_of(BLUE, sheet)
    assert max(before) < min(after)


def test_up_to_six_images_are_in_two_columns_and_more_in_three(upload: Path, tmp_path: Path) -> None:
    def size_of(count: int) -> tuple[int, int]:
        return drawn([a_pair(upload)] * count, tmp_path).size

    single, two, five, seven, sixty = map(size_of, (1, 2, 5, 7, 60))
    card, row = two[0] - single[0], (sixty[1] - single[1]) // 19
    assert five == (two[0], single[1] + 2 * row)
    assert seven == (two[0] + card, single[1] + 2 * row)
    assert sixty == (seven[0], single[1] + 19 * row)


def test_a_sheet_without_images_has_a_header_only(upload: Path, tmp_path: Path) -> None:
    assert 0 < drawn([], tmp_path).height < drawn([a_pair(upload)], tmp_path).height


def test_a_failure_shows_its_error_in_place_of_the_result(
    upload: Path, tmp_path: Path, texts: list[tuple[str, float]]
) -> None:
    sheet = drawn([a_failure(upload)], tmp_path)
    assert columns_of(RED, sheet)
    assert not columns_of(BLUE, sheet)
    words = " ".join(text for text, _ in texts)
    assert "truncated" in words
    assert "the file ends early; upload it again" in words


def test_a_file_that_cannot_be_opened_has_a_placeholder(
    tmp_path: Path, texts: list[tuple[str, float]]
) -> None:
    text = tmp_path / "notes.heic"
    text.write_text("not an image")
    gone = Pair(name="gone.jpg", before=tmp_path / "gone.jpg", after=b"broken")
    drawn([Pair(name=text.name, before=text, before_bytes=2_200_000), gone], tmp_path)
    drawn_texts = [text for text, _ in texts]
    assert drawn_texts.count("no preview") == 2
    assert "HEIC 2.2 MB" in drawn_texts


def test_the_result_may_be_a_file(upload: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    result.write_bytes(encoded(BLUE))
    assert columns_of(BLUE, drawn([Pair(name="red.png", before=upload, after=result)], tmp_path))


@pytest.mark.parametrize(
    ("completed", "failed", "expected"),
    [
        (2, 1, "3 images  ·  2 completed, 4.1 MB → 164 kB  ·  1 failed  ·  median 197 ms"),
        (0, 1, "1 image  ·  1 failed"),
    ],
)
def test_the_header_has_the_totals(
    upload: Path,
    tmp_path: Path,
    texts: list[tuple[str, float]],
    completed: int,
    failed: int,
    expected: str,
) -> None:
    drawn([a_pair(upload)] * completed + [a_failure(upload)] * failed, tmp_path)
    assert expected in [text for text, _ in texts]


def test_a_caption_has_size_format_and_bytes_of_both_files(
    upload: Path, tmp_path: Path, texts: list[tuple[str, float]]
) -> None:
    drawn([a_pair(upload), Pair(name="red.png", before=upload)], tmp_path)
    captions = [text for text, _ in texts]
    assert "4032x3024 PNG 2.0 MB  →  400x300 PNG 82 kB" in captions
    assert "400x300 PNG" in captions, "as opened, where the record has no size"


def test_a_long_name_is_shortened_in_its_middle(
    upload: Path, tmp_path: Path, texts: list[tuple[str, float]]
) -> None:
    sheet = drawn([a_pair(upload, name="holiday-in-the-mountains-" * 6 + "0042.jpeg")], tmp_path)
    ((name, width),) = [entry for entry in texts if entry[0].startswith("holiday")]
    assert "…" in name
    assert name.endswith("0042.jpeg")
    assert width < sheet.width


def test_an_error_message_is_wrapped_even_if_a_word_is_too_long(
    upload: Path, tmp_path: Path, texts: list[tuple[str, float]]
) -> None:
    sheet = drawn([a_failure(upload, message="the image is damaged: " + "x" * 200)], tmp_path)
    lines = [entry for entry in texts if entry[0].startswith(("the image", "xxx"))]
    assert len(lines) == 2
    assert all(width < sheet.width / 2 for _, width in lines)
