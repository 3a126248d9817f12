"""Names of downloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.console.views.media import download_name


@pytest.mark.parametrize(
    ("file_name", "file_format", "name"),
    [
        ("photo.jpg", "jpeg", "photo.jpg"),
        ("photo.JPEG", "jpeg", "photo.JPEG"),
        ("page.html", "jpeg", "page.html.jpg"),
        ("page.html", None, "page.html.bin"),
        ("archive.tar.gz", "png", "archive.tar.gz.png"),
        ("no-extension", "heic", "no-extension.heic"),
        ("picture.svg", "svg", "picture.svg.bin"),
        ("\u202egpj.exe", "png", "\N{REPLACEMENT CHARACTER}gpj.exe.png"),
        ("..", "png", "upload.png"),
        ("", None, "upload.bin"),
    ],
)
def test_a_download_has_the_extension_of_its_format(
    file_name: str, file_format: str | None, name: str
) -> None:
    assert download_name(file_name, file_format) == name


@given(st.text(), st.sampled_from([None, "jpeg", "png", "webp", "gif", "avif", "tiff", "bmp", "heic", "svg"]))
def test_no_download_has_an_extension_that_a_program_would_run(
    file_name: str, file_format: str | None
) -> None:
    name = download_name(f"{file_name}.html", file_format)
    assert not name.endswith(".html")
    assert len(name) < 200
