import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.focus import Focus, parse_focus

shares = st.integers(0, 10_000).map(lambda number: number / 10_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.4,0.2", (0.4, 0.2)),
        ("0,1", (0.0, 1.0)),
        (" 0.5 , 0.25 ", (0.5, 0.25)),
        (".5,1.", (0.5, 1.0)),
        ("1.000,0.000", (1.0, 0.0)),
        ("0.123456789,0.99999", (0.1235, 1.0)),
    ],
)
def test_two_numbers_from_0_to_1_are_a_focal_point(text: str, expected: tuple[float, float]) -> None:
    assert expected == parse_focus(text)


@given(shares, shares)
def test_the_text_of_a_focal_point_is_parsed_as_the_same_point(x: float, y: float) -> None:
    assert Focus(x, y) == parse_focus(str(Focus(x, y)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.4",
        "0.4,",
        "0.4 0.2",
        "0.4;0.2",
        "0.4,0.2,0.1",
        "1.1,0.5",
        "1.0001,0.5",
        "0.5,2",
        "-0.1,0.5",
        "-0,0.5",
        "nan,nan",
        "inf,0.5",
        "1e-1,0.5",
        "0x0.8p0,0.5",
        "0,4,0,2",
        "\N{ARABIC-INDIC DIGIT ZERO},0",
        "0._5,0.5",
        "0.5,0.5\x00",
        "<script>,0.5",
        "0." + "1" * 400 + ",0.5",
    ],
)
def test_any_other_text_is_rejected_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not two numbers from 0 to 1, as in 0\.4,0\.2") as raised:
        parse_focus(text)
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()


@given(st.text(alphabet="0123456789.,-+einf \t", max_size=30) | st.text(max_size=30))
def test_whatever_is_accepted_lies_in_the_image(text: str) -> None:
    try:
        point = parse_focus(text)
    except ValueError:
        return
    assert all(0 <= share <= 1 for share in point)
