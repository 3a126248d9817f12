import pytest

from worker.domain import errors
from worker.domain.errors import (
    AccessDeniedError,
    CorruptError,
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    DecodeTimeoutError,
    FormatNotAllowedError,
    IllegalMoveError,
    ImageWorkerError,
    KeyTooLongError,
    LeaseLostError,
    NotAnImageError,
    RecordRejectedError,
    RejectedError,
    ResultKeyTakenError,
    ScanFailedError,
    SourceArchivedError,
    SourceMissingError,
    SourceUnreadableError,
    SupersededError,
    ThreatFoundError,
    TooManyBytesError,
    TooManyFramesError,
    TooManyPixelsError,
    TooManyScansError,
    TooSmallError,
    TruncatedError,
)

UPLOAD = {"bucket": "image-uploads", "key": "uploads/u/i.jpg"}

REJECTIONS = [
    (NotAnImageError(), "the file is not an image in any known format"),
    (
        FormatNotAllowedError(found="svg", allowed=("jpeg", "png")),
        "the format svg is not supported; upload one of: jpeg, png",
    ),
    (
        TooManyBytesError(size_bytes=52_428_801, limit_bytes=52_428_800),
        "52,428,801 bytes or more, above the limit of 52,428,800",
    ),
    (
        TooManyPixelsError(pixels=100_000_001, limit=100_000_000),
        "100,000,001 pixels, above the limit of 100,000,000",
    ),
    (TooManyFramesError(frames=501, limit=500), "501 frames or more, above the limit of 500"),
    (TooManyScansError(limit=100), "more than 100 scans, each of which takes as long as a whole image"),
    (TooSmallError(width=1, height=9, limit_px=2), "1x9 pixels, but each side must have at least 2"),
    (TruncatedError(), "it ends before the image data does"),
    (
        CorruptError(reason="bad Huffman code"),
        (
            "the image data is corrupt: bad Huffman code; "
            "save the image again with another program and upload that file"
        ),
    ),
    (DecodeTimeoutError(limit_s=30.0), "longer than 30 s"),
    (DecodeOutOfMemoryError(), "more memory than a decoder process may use"),
    (DecoderCrashedError(exit_status="signal 11"), "crashed while it processed the image (signal 11)"),
    (
        ResultKeyTakenError(bucket="results", key="p/u/i.jpg", taken_by="image u/j"),
        "a result of image u/j, and",
    ),
    (SourceMissingError(**UPLOAD), "s3://image-uploads/uploads/u/i.jpg"),
    (
        SourceArchivedError(**UPLOAD),
        "s3://image-uploads/uploads/u/i.jpg cannot be read because S3 has archived it; restore the object",
    ),
    (
        SourceUnreadableError(**UPLOAD, reason="its key is disabled"),
        "s3://image-uploads/uploads/u/i.jpg cannot be read: its key is disabled; store the object so",
    ),
    (
        AccessDeniedError(**UPLOAD, reason="Access Denied"),
        "denies access to s3://image-uploads/uploads/u/i.jpg: Access Denied; allow s3:GetObject",
    ),
    (
        ThreatFoundError(**UPLOAD),
        "has found malware in s3://image-uploads/uploads/u/i.jpg, which was not read; delete the object",
    ),
    (
        ScanFailedError(**UPLOAD, status="UNSUPPORTED"),
        "could not scan s3://image-uploads/uploads/u/i.jpg (UNSUPPORTED), and it was not read; remove the",
    ),
    (
        KeyTooLongError(key="processed/" + 1015 * "k", length_bytes=1025, limit_bytes=1024),
        "has 1,025 bytes, above the limit of S3, 1,024; upload the image under a shorter key",
    ),
    (
        RecordRejectedError(what="claim the image", reason="Item size has exceeded the maximum allowed size"),
        "could not claim the image: DynamoDB rejected the item: Item size has exceeded",
    ),
]
CODES = [error.code for error, _ in REJECTIONS]


def test_every_rejected_error_is_tested_here() -> None:
    assert {type(error) for error, _ in REJECTIONS} == set(RejectedError.__subclasses__())


def test_no_two_rejected_errors_share_a_code() -> None:
    assert len({*CODES, RejectedError.code}) == len(REJECTIONS) + 1


@pytest.mark.parametrize(("error", "message_part"), REJECTIONS, ids=CODES)
def test_a_rejected_error_states_the_offending_values(error: RejectedError, message_part: str) -> None:
    assert message_part in str(error)


@pytest.mark.parametrize(("error", "_"), REJECTIONS, ids=CODES)
def test_an_error_reported_by_a_decoder_is_rebuilt_in_the_worker_process(
    error: RejectedError, _: str
) -> None:
    rebuilt = RejectedError.from_report(error.code, str(error))

    assert (type(error), error.code, str(error), error.retryable) == (
        type(rebuilt),
        rebuilt.code,
        str(rebuilt),
        rebuilt.retryable,
    )


def test_an_unknown_code_is_kept() -> None:
    error = RejectedError.from_report("too_blurred", "the image is too blurred")

    assert (type(error), error.code, str(error)) == (
        RejectedError,
        "too_blurred",
        "the image is too blurred",
    )
    assert RejectedError.code == "rejected"


def test_only_errors_whose_cause_may_be_outside_the_file_are_retryable() -> None:
    assert {error.code for error, _ in REJECTIONS if error.retryable} == {
        "decode_timeout",
        "decode_out_of_memory",
        "decoder_crashed",
        "result_key_taken",
        "source_archived",
        "source_unreadable",
        "access_denied",
        "scan_failed",
        "record_rejected",
    }


def test_the_tree_in_the_docstring_names_every_error_and_code() -> None:
    tree = errors.__doc__ or ""

    missing = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and name not in tree
    ]

    assert missing + [code for code in CODES if code not in tree] == []


@pytest.mark.parametrize(
    ("error", "message_part"),
    [
        (LeaseLostError(image_id="img_1", attempt=3), "img_1: attempt 3 no longer holds the lease"),
        (SupersededError(image_id="img_1"), "img_1: a newer upload has replaced this one"),
        (
            IllegalMoveError(what="step resize", move="completed", status="pending"),
            "step resize is pending: it cannot be completed",
        ),
    ],
)
def test_an_error_names_its_image_or_step(error: ImageWorkerError, message_part: str) -> None:
    assert str(error) == message_part
