import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pictures import encoded, noise, quadrants
from worker import imaging
from worker.decoder_pool.decoder_output import REJECTIONS, expect_rendition, expect_report
from worker.domain.errors import RejectedError, TruncatedError
from worker.domain.recipe import Animation, Limits, OutputFormat, Recipe, Size, Watermark
from worker.domain.status import StepMove, StepName
from worker.domain.step import DecoderOutput, EncodedRendition, StepReport
from worker.imaging.fonts import Fonts
from worker.imaging.pipeline import process
from worker.ipc.framing import Frame, Header
from worker.ipc.messages import (
    RejectionReceivedError,
    UnexpectedMessageError,
    rejected_header,
    rendition_header,
    step_report_header,
)

FONT = Path(imaging.__file__).parents[1] / "data" / "fonts" / "DejaVuSans-Bold.ttf"
MEDIUM = Size("medium", 800, 600)
EXTENT = {"width": 1920, "height": 1080}
DETAILS: dict[StepName, dict[str, Any]] = {
    StepName.VALIDATION: {
        "result": "valid",
        "format": "jpeg",
        "mode": "RGB",
        "frames": 1,
        "orientation": 6,
        "hdr": True,
        "contentCredentials": True,
    },
    StepName.RESIZE: {
        "dimensions": {"original": EXTENT, "processed": {"width": 800, "height": 450}},
        "dominantColor": "#dc1e1e",
        "blurHash": "L" * 28,
        "perceptualHash": "0123456789abcdef",
    },
    StepName.WATERMARK: {"watermarkType": "text", "watermarkText": "Zoë © 日本"},
}


def a_report(step: StepName = StepName.VALIDATION, /, **changes: object) -> Frame:
    report = StepReport(
        step=step,
        move=StepMove.COMPLETED,
        elapsed_ms=3,
        detail=DETAILS[step],
        metadata={"camera": "Apple iPhone 12"} if step is StepName.VALIDATION else {},
    )
    return sent({**step_report_header(report), **changes})


def with_detail(step: StepName, **changes: object) -> Frame:
    """Return a report whose detail has other values; None removes one."""
    detail = DETAILS[step] | changes
    return a_report(step, detail={name: value for name, value in detail.items() if value is not None})


def sent(header: Header, body: bytes = b"") -> Frame:
    """Return a message as it arrives in the worker process."""
    return Frame(json.loads(json.dumps(header)), bytearray(body))


def a_rendition(content: bytes | None = None, **changes: object) -> Frame:
    rendition = EncodedRendition(size="medium", width=80, height=50, format="jpeg", content=b"")
    return sent({**rendition_header(rendition), **changes}, content or encoded(quadrants(80, 50)))


@pytest.mark.parametrize("step", StepName)
def test_a_report_is_parsed_from_its_frame(step: StepName) -> None:
    report = expect_report(a_report(step), step)

    assert (report.step, report.detail) == (step, DETAILS[step])


def test_the_reason_of_a_skipped_watermark_is_kept() -> None:
    frame = a_report(StepName.WATERMARK, move="skipped", detail={"reason": "disabled"})

    report = expect_report(frame, StepName.WATERMARK)

    assert (report.move, report.detail) == (StepMove.SKIPPED, {"reason": "disabled"})


def test_a_rendition_is_parsed_from_its_frame() -> None:
    frame = a_rendition()

    rendition = expect_rendition(frame, MEDIUM)

    assert (rendition.size, rendition.width, rendition.height, rendition.format) == ("medium", 80, 50, "jpeg")
    assert rendition.content is frame.body


def test_a_rejection_is_raised_in_place_of_a_report_or_a_rendition() -> None:
    frame = sent(rejected_header(TruncatedError()))
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
        {"kind": ["report"]},
        {"step": "resize"},
        {"step": "unknown"},
        {"move": "failed"},
        {"move": "skipped"},
        {"elapsed_ms": "3"},
        {"elapsed_ms": True},
        {"elapsed_ms": 3.0},
        {"elapsed_ms": math.nan},
        {"elapsed_ms": -1},
        {"elapsed_ms": 10**14},
        {"detail": []},
        {"detail": None},
        {"detail": {}},
        {"metadata": {"camera": 5}},
        {"metadata": {"camera": "x" * 501}},
        {"metadata": {"camera": "\ud800"}},
        {"metadata": {"status": "owned"}},
        {"metadata": "text"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_report_of_another_form_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(a_report(**changes), StepName.VALIDATION)


HOSTILE_DETAILS: list[tuple[StepName, dict[str, object]]] = [
    (StepName.VALIDATION, {"status": "owned"}),
    (StepName.VALIDATION, {"startedAt": "yesterday"}),
    (StepName.VALIDATION, {"result": "owned"}),
    (StepName.VALIDATION, {"format": "svg"}),
    (StepName.VALIDATION, {"mode": "RGB\n"}),
    (StepName.VALIDATION, {"frames": 0}),
    (StepName.VALIDATION, {"frames": 2**40}),
    (StepName.VALIDATION, {"frames": 10**100}),
    (StepName.VALIDATION, {"orientation": 9}),
    (StepName.VALIDATION, {"hdr": False}),
    (StepName.VALIDATION, {"contentCredentials": "true"}),
    (StepName.VALIDATION, {"profile": "x" * 501}),
    (StepName.VALIDATION, {"profile": {"": {"": {"": ""}}}}),
    (StepName.RESIZE, {"completedAt": 7}),
    (StepName.RESIZE, {"dimensions": {"original": EXTENT}}),
    (StepName.RESIZE, {"dimensions": {"original": EXTENT, "processed": EXTENT | {"depth": 1}}}),
    (StepName.RESIZE, {"dimensions": {"original": EXTENT, "processed": {"width": -1, "height": 1}}}),
    (StepName.RESIZE, {"dominantColor": "red"}),
    (StepName.RESIZE, {"dominantColor": "#00ff00\n"}),
    (StepName.RESIZE, {"blurHash": "<script>"}),
    (StepName.RESIZE, {"perceptualHash": None}),
    (StepName.WATERMARK, {"status": "owned"}),
    (StepName.WATERMARK, {"watermarkType": "video"}),
    (StepName.WATERMARK, {"watermarkText": 7}),
]


@pytest.mark.parametrize(("step", "changes"), HOSTILE_DETAILS, ids=str)
def test_a_detail_that_is_not_in_the_schema_of_its_step_is_an_error(
    step: StepName, changes: dict[str, object]
) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(with_detail(step, **changes), step)


@pytest.mark.parametrize("step", [StepName.RESIZE, StepName.WATERMARK])
def test_only_validation_reports_metadata(step: StepName) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(a_report(step, metadata={"camera": "x"}), step)


def test_control_characters_in_texts_are_replaced() -> None:
    frame = a_report(metadata={"camera": "\x1b[31mCanon\u2028\x9b\0"})

    report = expect_report(frame, StepName.VALIDATION)

    assert report.metadata == {"camera": "\ufffd[31mCanon\ufffd\ufffd\ufffd"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(StepName), st.sampled_from(["detail", "metadata", "move", "elapsed_ms"]), JSON)
def test_any_value_in_a_report_is_parsed_or_unexpected(step: StepName, name: str, value: Any) -> None:
    try:
        report = expect_report(a_report(step, **{name: value}), step)
    except UnexpectedMessageError:
        return
    assert {"status", "startedAt", "completedAt"}.isdisjoint(report.detail)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "report"},
        {"size": "large"},
        {"width": 801},
        {"width": 81},
        {"height": 0},
        {"height": 51},
        {"width": "80"},
        {"width": 80.0},
        {"format": "svg"},
        {"format": "png"},
        {"format": ["jpeg"]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_rendition_that_is_not_what_its_header_states_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_rendition(a_rendition(**changes), MEDIUM)  # type: ignore[arg-type]  # any value is sent


def test_a_rendition_in_a_format_that_the_size_does_not_have_is_an_error() -> None:
    png = Size("medium", 800, 600, format=OutputFormat.PNG)

    with pytest.raises(UnexpectedMessageError):
        expect_rendition(a_rendition(), png)


def test_a_rendition_larger_than_its_size_is_an_error() -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_rendition(a_rendition(), Size("medium", 79, 600))


@pytest.mark.parametrize(
    "changes",
    [{"code": "unknown"}, {"code": 5}, {"message": None}, {"message": "x" * 501}, {"code": "rejected"}],
    ids=str,
)
def test_a_rejection_of_another_form_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_report(sent({**rejected_header(TruncatedError()), **changes}), StepName.RESIZE)


def test_a_rejection_with_a_body_is_an_error() -> None:
    with pytest.raises(UnexpectedMessageError):
        expect_rendition(sent(rejected_header(TruncatedError()), b"x"), MEDIUM)


def test_a_decoder_can_report_the_rejections_that_imaging_raises_and_no_others() -> None:
    source = "".join(file.read_text() for file in Path(imaging.__file__).parent.glob("*.py"))

    raised = {error for error in RejectedError.__subclasses__() if error.__name__ in source}

    assert raised == set(REJECTIONS)


def received(outputs: Iterator[DecoderOutput], recipe: Recipe) -> list[DecoderOutput]:
    """Return the output of the pipeline as the worker process receives it."""
    made = list(outputs)
    frames = [
        sent(rendition_header(each), bytes(each.content))
        if isinstance(each, EncodedRendition)
        else sent(step_report_header(each))
        for each in made
    ]
    reports = [expect_report(frame, step) for frame, step in zip(frames, StepName, strict=False)]
    return reports + [
        expect_rendition(frame, size)
        for frame, size in zip(frames[len(StepName) :], recipe.sizes, strict=True)
    ]


SIZES = (
    *(Size(each.value, 120, 90, format=each) for each in OutputFormat),
    Size("thumbnail", 15, 15),
)
UPLOADS = {
    "photo": encoded(noise(300, 200)),
    "transparent": encoded(quadrants(300, 200, "RGBA"), "PNG"),
    "drawing": encoded(quadrants(300, 200), "PNG"),
    "grey": encoded(quadrants(300, 200, "L"), "PNG"),
    "palette": encoded(quadrants(300, 200, "P"), "PNG"),
    "tiff": encoded(quadrants(300, 200, "CMYK"), "TIFF"),
    "animation": encoded(
        quadrants(300, 200), "GIF", save_all=True, append_images=[noise(300, 200)], duration=[80, 80]
    ),
    "WebP animation": encoded(
        quadrants(300, 200), "WEBP", save_all=True, append_images=[noise(300, 200)], duration=[80, 80]
    ),
    "AVIF": encoded(quadrants(300, 200), "AVIF"),
    "pixel": encoded(quadrants(1, 1), "PNG"),
}


@pytest.mark.parametrize("animation", [Animation.FIRST, Animation.KEEP])
@pytest.mark.parametrize("upload", UPLOADS)
def test_all_output_of_the_pipeline_is_accepted(upload: str, animation: Animation) -> None:
    recipe = Recipe(sizes=SIZES, watermark=Watermark("Zoë \N{RIGHT-TO-LEFT MARK} 日本"), animation=animation)
    fonts = Fonts((FONT.read_bytes(),))

    outputs = received(process(UPLOADS[upload], recipe, limits=Limits(), fonts=fonts), recipe)

    assert len(outputs) == len(StepName) + len(SIZES)
