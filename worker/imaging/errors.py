"""Map the exceptions of image libraries to errors with a code."""

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

_OUT_OF_MEMORY: Final = re.compile(r"out of memory|cannot allocate|not enough memory", re.IGNORECASE)
_TRUNCATED: Final = re.compile(r"truncated|unexpected end|premature end|unexpected eof", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+|<[^>]* at 0x[0-9a-f]+>")


def rejected_error_for(error: Exception, *, is_truncated: bool = False) -> RejectedError:
    """
    Return the error for an exception raised while an image file was decoded: the file is damaged.

    Args:
        error: Exception of an image library.
        is_truncated: Whether the file's structure shows that its end is missing.
    """
    if isinstance(error, RejectedError):
        return error
    if _is_out_of_memory(error):
        return DecodeOutOfMemoryError()
    if is_truncated or _TRUNCATED.search(str(error)):
        return TruncatedError()
    return CorruptError(reason=_reason(error))


def crash_error_for(error: Exception) -> RejectedError:
    """Return the error for an exception raised after the file was decoded: the decoder process failed."""
    if isinstance(error, RejectedError):
        return error
    if _is_out_of_memory(error):
        return DecodeOutOfMemoryError()
    return DecoderCrashedError(exit_status=f"{type(error).__name__}: {_reason(error)}")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


def _reason(error: Exception) -> str:
    return _UNPRINTABLE.sub("?", str(error))[:MAX_REASON_CHARACTERS] or type(error).__name__
