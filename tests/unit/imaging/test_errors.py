import pytest

from worker.domain.errors import CorruptError, TooManyPixelsError
from worker.imaging.errors import crash_error_for, rejected_error_for


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), "truncated"),
        (OSError("Truncated File Read"), "truncated"),
        (OSError("broken data stream when reading image file"), "corrupt"),
        (SyntaxError("not a PNG file"), "corrupt"),
        (ZeroDivisionError(), "corrupt"),
        (MemoryError(), "decode_out_of_memory"),
        (OSError("out of memory error when reading image file"), "decode_out_of_memory"),
        (TooManyPixelsError(pixels=2, limit=1), "too_many_pixels"),
    ],
)
def test_every_exception_of_a_decoder_has_a_code(error: Exception, code: str) -> None:
    assert rejected_error_for(error).code == code


def test_the_files_own_marks_outweigh_the_decoders_words() -> None:
    assert (
        rejected_error_for(OSError("could not create decoder object"), is_truncated=True).code == "truncated"
    )


def test_a_reason_is_short_and_gives_no_addresses_away() -> None:
    refused = rejected_error_for(ValueError("bad <_io.BytesIO object at 0x7f371fc68fe0>\n" + "x" * 1000))
    assert isinstance(refused, CorruptError)
    assert len(refused.reason) <= 200
    assert "0x7f" not in refused.reason
    assert "\n" not in refused.reason


def test_a_failure_after_reading_is_this_workers_and_says_so() -> None:
    failed = crash_error_for(ValueError("unsupported mode"))
    assert failed.code == "decoder_crashed"
    assert "ValueError: unsupported mode" in str(failed)
