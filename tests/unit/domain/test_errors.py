import pytest

from worker.domain import errors
from worker.domain.errors import (
    CorruptError,
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    DecodeTimeoutError,
    FormatNotAllowedError,
    IllegalMoveError,
    ImageWorkerError,
    LeaseLostError,
    NotAnImageError,
    RejectedError,
    SourceMissingError,
    SupersededError,
    TooManyBytesError,
    TooManyFramesError,
    TooManyPixelsError,
    TooSmallError,
    TruncatedError,
)

REFUSALS = [
    (NotAnImageError(), "the file is not a picture in any format that this worker knows"),
    (FormatNotAllowedError(found="svg", allowed=("jpeg", "png")), "svg is not taken; these are: jpeg, png"),
    (TooManyBytesError(size_bytes=52_428_801, limit_bytes=52_428_800), "52,428,801 bytes or more"),
    (
        TooManyPixelsError(pixels=100_000_001, limit=100_000_000),
        "100,000,001 pixels; the limit is 100,000,000",
    ),
    (TooManyFramesError(frames=501, limit=500), "501 frames or more; the limit is 500"),
    (TooSmallError(width=1, height=9, limit_px=2), "1x9 pixels; each side needs at least 2"),
    (TruncatedError(), "the file ends before the picture does"),
    (CorruptError(reason="bad Huffman code"), "the picture is damaged: bad Huffman code"),
    (DecodeTimeoutError(limit_s=30.0), "longer than 30 s"),
    (DecodeOutOfMemoryError(), "more memory than a decoder may have"),
    (DecoderCrashedError(exit_status="signal 11"), "died on this picture (signal 11)"),
    (SourceMissingError(bucket="image-uploads", key="uploads/u/i.jpg"), "s3://image-uploads/uploads/u/i.jpg"),
]
CODES = [error.code for error, _ in REFUSALS]


def test_every_refusal_is_looked_at_here() -> None:
    assert {type(error) for error, _ in REFUSALS} == set(RejectedError.__subclasses__())


def test_no_two_refusals_share_a_code() -> None:
    assert len({*CODES, RejectedError.code}) == len(REFUSALS) + 1


@pytest.mark.parametrize(("error", "sentence"), REFUSALS, ids=CODES)
def test_a_refusal_says_what_is_wrong_with_the_numbers(error: RejectedError, sentence: str) -> None:
    assert sentence in str(error)


@pytest.mark.parametrize(("error", "_"), REFUSALS, ids=CODES)
def test_a_refusal_reported_by_a_child_is_the_same_refusal_in_the_parent(
    error: RejectedError, _: str
) -> None:
    rebuilt = RejectedError.from_report(error.code, str(error))

    assert (type(error), error.code, str(error), error.retryable) == (
        type(rebuilt),
        rebuilt.code,
        str(rebuilt),
        rebuilt.retryable,
    )


def test_a_code_that_only_a_newer_child_knows_is_kept() -> None:
    error = RejectedError.from_report("too_beautiful", "nobody would believe it")

    assert (type(error), error.code, str(error)) == (
        RejectedError,
        "too_beautiful",
        "nobody would believe it",
    )
    assert RejectedError.code == "rejected"


def test_only_what_may_have_been_the_workers_fault_can_be_retried() -> None:
    assert {error.code for error, _ in REFUSALS if error.retryable} == {
        "decode_timeout",
        "decode_out_of_memory",
        "decoder_crashed",
    }


def test_the_tree_in_the_modules_docstring_names_every_error_and_code() -> None:
    drawn = errors.__doc__ or ""

    missing = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and name not in drawn
    ]

    assert missing + [code for code in CODES if code not in drawn] == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LeaseLostError(image_id="img_1", attempt=3), "img_1: attempt 3 no longer holds the lease"),
        (SupersededError(image_id="img_1"), "img_1: a newer upload has replaced this one"),
        (
            IllegalMoveError(what="step resize", move="completed", status="pending"),
            "step resize is pending: it cannot be completed",
        ),
    ],
)
def test_an_error_of_the_service_names_what_it_is_about(error: ImageWorkerError, sentence: str) -> None:
    assert str(error) == sentence
