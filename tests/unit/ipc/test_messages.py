import pytest

from worker.domain.errors import TruncatedError
from worker.domain.recipe import Limits, Recipe, Size, Watermark
from worker.domain.status import StepMove, StepName
from worker.domain.step import EncodedRendition, StepReport
from worker.ipc.framing import Frame, Header
from worker.ipc.messages import (
    RejectionReceivedError,
    Setup,
    UnexpectedMessageError,
    expect_rendition,
    expect_report,
    image_header,
    max_rendition_bytes,
    recipe_from_header,
    rejected_header,
    rendition_header,
    setup_from_header,
    setup_header,
    step_report_header,
)

MEDIUM = Size("medium", 800, 600)
REPORT = StepReport(
    step=StepName.RESIZE,
    move=StepMove.COMPLETED,
    elapsed_ms=3,
    detail={"dimensions": {"original": {"width": 2, "height": 1}}},
    metadata={"camera": "Apple iPhone 12"},
)
RENDITION = EncodedRendition(
    size="medium", width=800, height=450, format="jpeg", content=bytearray(b"\xff\xd8")
)


def frame_of(header: Header, **changes: object) -> Frame:
    return Frame({**header, **changes}, bytearray(b"\xff\xd8"))


def test_a_setup_is_parsed_from_its_header() -> None:
    setup = Setup(Limits(max_pixels=5), 512, ("font.ttf", "other.ttf"), 90)
    assert setup_from_header(setup_header(setup)) == setup


@pytest.mark.parametrize("mark", [None, Watermark("hello", opacity=0.3)])
def test_a_recipe_is_parsed_from_its_header(mark: Watermark | None) -> None:
    recipe = Recipe(sizes=(MEDIUM, Size("small", 400, 400)), watermark=mark, quality=70)
    assert recipe_from_header(image_header(recipe), {}) == recipe


def test_a_report_is_parsed_from_its_frame() -> None:
    assert expect_report(frame_of(step_report_header(REPORT)), StepName.RESIZE) == REPORT


def test_a_rendition_is_parsed_from_its_frame() -> None:
    assert expect_rendition(frame_of(rendition_header(RENDITION)), MEDIUM) == RENDITION


def test_a_rejection_is_raised_in_place_of_a_report_or_a_rendition() -> None:
    frame = Frame(rejected_header(TruncatedError()), bytearray())
    for expect in (
        lambda: expect_report(frame, StepName.VALIDATION),
        lambda: expect_rendition(frame, MEDIUM),
    ):
        with pytest.raises(RejectionReceivedError) as received:
            expect()
        assert isinstance(received.value.error, TruncatedError)
        assert str(received.value.error) == str(TruncatedError())


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "rendition"},
        {"kind": None},
        {"step": "validation"},
        {"step": "unknown"},
        {"move": "failed"},
        {"elapsed_ms": "3"},
        {"elapsed_ms": -1},
        {"elapsed_ms": 10**14},
        {"detail": []},
        {"metadata": {"camera": 5}},
        {"metadata": "text"},
    ],
)
def test_an_unexpected_or_invalid_report_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(frame_of(step_report_header(REPORT), **changes), StepName.RESIZE)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "report"},
        {"size": "large"},
        {"width": 801},
        {"height": 0},
        {"width": "800"},
        {"format": "svg"},
        {"format": ["jpeg"]},
    ],
)
def test_an_unexpected_or_invalid_rendition_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_rendition(frame_of(rendition_header(RENDITION), **changes), MEDIUM)


@pytest.mark.parametrize("changes", [{"code": "unknown"}, {"code": 5}, {"message": None}])
def test_a_rejection_with_an_unknown_code_or_an_invalid_message_is_an_error(
    changes: dict[str, object],
) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(frame_of(rejected_header(TruncatedError()), **changes), StepName.RESIZE)


def test_the_size_limit_of_a_rendition_exceeds_its_uncompressed_pixels() -> None:
    assert max_rendition_bytes(MEDIUM) > 4 * 800 * 600
