"""Which refusal an exception of a decoder stands for."""

import re
from typing import Final

from worker.domain.errors import (
    CorruptError,
    DecodeOutOfMemoryError,
    DecoderCrashedError,
    RejectedError,
    TruncatedError,
)

MAX_REASON_CHARACTERS: Final = 200

_SHORTAGE: Final = re.compile(r"out of memory|cannot allocate|not enough memory", re.IGNORECASE)
_EARLY_END: Final = re.compile(r"truncated|unexpected end|premature end|unexpected eof", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+|<[^>]* at 0x[0-9a-f]+>")


def rejected_error_for(error: Exception, *, is_cut_short: bool = False) -> RejectedError:
    """
    Name what an exception from reading a picture says about the picture.

    Args:
        error: Whatever the decoder raised.
        is_cut_short: Whether the file itself shows that its end is missing.
    """
    if isinstance(error, RejectedError):
        return error
    if _is_shortage(error):
        return DecodeOutOfMemoryError()
    if is_cut_short or _EARLY_END.search(str(error)):
        return TruncatedError()
    return CorruptError(reason=_reason(error))


def crash_error_for(error: Exception) -> RejectedError:
    """Name what an exception after reading says: that this worker failed on the picture, and how."""
    if isinstance(error, RejectedError):
        return error
    if _is_shortage(error):
        return DecodeOutOfMemoryError()
    return DecoderCrashedError(exit_status=f"{type(error).__name__}: {_reason(error)}")


def _is_shortage(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _SHORTAGE.search(str(error)) is not None


def _reason(error: Exception) -> str:
    return _UNPRINTABLE.sub("?", str(error))[:MAX_REASON_CHARACTERS] or type(error).__name__
