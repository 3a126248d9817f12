"""Words for error codes."""

from typing import TYPE_CHECKING

import pytest

from worker.domain.errors import (
    INTERNAL_ERROR,
    WORKER_KILLED,
    DecoderKilledError,
    NotScannedError,
    RejectedError,
    TransientError,
)
from worker.domain.image import Failure
from worker.domain.status import ImageStatus
from worker.presentation.words import detail_text, error_words, what_to_do

if TYPE_CHECKING:
    from worker.domain.step import Json

CODES = sorted(
    {
        *(error.code for error in RejectedError.__subclasses__()),
        DecoderKilledError.code,
        NotScannedError.code,
        TransientError.code,
        "result_rejected",
        INTERNAL_ERROR,
        WORKER_KILLED,
    }
)


@pytest.mark.parametrize("code", CODES)
def test_every_error_code_has_its_own_cause_and_advice(code: str) -> None:
    words = error_words(code)
    assert words.cause != error_words("a code of the future").cause
    assert words.cause[0].isupper()
    assert words.cause.endswith(".")
    assert words.advice
    assert not words.advice.endswith(".")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ImageStatus.FAILED, "upload the complete file again"),
        (ImageStatus.PENDING, "nothing: the queue redelivers it"),
        (ImageStatus.PROCESSING, None),
    ],
)
def test_what_to_do_depends_on_the_status(status: ImageStatus, text: str | None) -> None:
    failure = Failure(code="truncated", message="the file ends", step=None, retryable=False)
    assert what_to_do(failure, status) == text


def test_what_an_upload_contains_is_shown_in_words() -> None:
    detail: dict[str, Json] = {"format": "jpeg", "frames": 1, "hdr": True, "contentCredentials": True}
    assert detail_text(detail) == "jpeg, frames 1, HDR, content credentials"
    assert detail_text({"hdr": "<b>"}) == "hdr <b>"
