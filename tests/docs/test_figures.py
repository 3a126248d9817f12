"""The figures that pages quote are those of the performance page."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.figures import QUOTED, QUOTING, SOURCE, with_figures
from tests.docs.pages import PAGES, ROOT

README = ROOT / "README.md"
PERFORMANCE = """
## Cost
| USD | s3 | total |
| --- | ---: | ---: |
| image-worker | 5.40 | 1,030.88 |

## The whole service
| images | peer | CPU ms | ratio |
| --- | ---: | ---: | ---: |
| 1920x1080 | Celery | 42.5 | 1.64 (1.49 to 1.65) |
| 12 MP | Celery | 75.7 | 1.22 (1.17 to 1.25) |
"""


def decimals(text: str) -> Iterator[str]:
    """Yield the decimal fractions in the text of a page, with what follows, without code and versions."""
    prose = re.sub(r"^```.*?^```$|`[^`]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in re.finditer(r"(?<![\w.])(?<!Python )(?<!Node\.js )\d+\.\d+(?!\.?\d)", prose):
        yield prose[found.start() :].partition("\n")[0]


def is_marked(decimal: str) -> bool:
    return QUOTED.match(decimal) is not None


def test_every_decimal_fraction_in_the_readme_names_its_place_on_the_performance_page() -> None:
    unmarked = [decimal for decimal in decimals(README.read_text(encoding="utf-8")) if not is_marked(decimal)]

    assert unmarked == [], "docs/figures.py describes the comment after a figure"


def test_a_decimal_fraction_without_a_place_is_found() -> None:
    text = "Python 3.11, `1.5`, 1.64<!-- a | b -->, and 1.7 times.\n```sh\nsleep 0.5\n```\n"

    assert [decimal for decimal in decimals(text) if not is_marked(decimal)] == ["1.7 times."]


def test_every_page_that_quotes_figures_is_checked() -> None:
    quoting = {page for page in PAGES if QUOTED.search(page.read_text(encoding="utf-8"))}

    assert quoting == set(QUOTING)


@pytest.mark.parametrize("page", QUOTING, ids=lambda page: page.stem)
def test_a_changed_digit_makes_the_page_stale(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for found in QUOTED.finditer(text):
        for at in range(*found.span("figure")):
            if text[at].isdigit():
                changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
                assert with_figures(changed, SOURCE.read_text(encoding="utf-8")) == text != changed


def test_a_figure_that_was_measured_again_makes_the_readme_stale() -> None:
    text = README.read_text(encoding="utf-8")
    source = SOURCE.read_text(encoding="utf-8").replace("1.", "7.")

    assert with_figures(text, source) != text


@pytest.mark.parametrize(
    ("place", "figure"),
    [
        ("Cost | image-worker | total", "1,030.88"),
        ("The whole service | 1920x1080 | Celery | ratio", "1.64"),
        ("The whole service | 12 MP | Celery | ratio", "1.22"),
        ("The whole service | 12 MP | Celery | CPU ms", "75.7"),
    ],
)
def test_a_figure_is_the_first_number_of_its_cell(place: str, figure: str) -> None:
    assert with_figures(f"0.1<!-- {place} --> times", PERFORMANCE) == f"{figure}<!-- {place} --> times"


@pytest.mark.parametrize(
    "place",
    [
        "Costs | image-worker | total",
        "Cost | baseline | total",
        "Cost | image-worker | sum",
        "The whole service | 12 MP | Node | ratio",
        "The whole service | 12 MP | Celery | total",
    ],
)
def test_a_place_that_the_performance_page_does_not_have_is_an_error(place: str) -> None:
    with pytest.raises(LookupError, match=re.escape(place)):
        with_figures(f"1.64<!-- {place} -->", PERFORMANCE)
