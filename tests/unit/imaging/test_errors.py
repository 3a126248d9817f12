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
def test_every_exception_of_a_decoder_is_mapped_to_a_code(error: Exception, code: str) -> None:
    assert rejected_error_for(error).code == code


def test_a_file_whose_end_is_missing_is_truncated_whatever_the_decoder_reports() -> None:
    assert (
        rejected_error_for(OSError("could not create decoder object"), is_truncated=True).code == "truncated"
    )


def test_a_reason_is_short_and_contains_no_memory_addresses() -> None:
    rejected = rejected_error_for(ValueError("bad <_io.BytesIO object at 0x7f371fc68fe0>\n" + "x" * 1000))
    assert isinstance(rejected, CorruptError)
    assert len(rejected.reason) <= 200
    assert "0x7f" not in rejected.reason
    assert "\n" not in rejected.reason


def test_an_exception_after_decoding_is_reported_as_a_crash_with_its_type() -> None:
    error = crash_error_for(ValueError("unsupported mode"))
    assert error.code == "decoder_crashed"
    assert "ValueError: unsupported mode" in str(error)
