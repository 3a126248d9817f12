"""Describe error codes, steps and entries of the history in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from worker.domain import clock
from worker.domain.history import RETENTION_SET, claim_count, entry_count, outcomes
from worker.domain.image import Failure, HistoryEntry
from worker.domain.status import ImageStatus, StepStatus
from worker.domain.step import Json

_LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, after which Python has no times."""

_ARROW: Final = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """Why images fail with an error code, as a sentence, and what the owner or the operator can do."""

    cause: str
    advice: str


_UNKNOWN: Final = ErrorWords("The image cannot be processed.", "upload it again")

_ERRORS: Final[Mapping[str, ErrorWords]] = {
    code: ErrorWords(cause, advice)
    for code, cause, advice in (
        ("not_an_image", "The file is not an image in any known format.", "upload an image file"),
        (
            "format_not_allowed",
            "The image is in a format that the worker does not process.",
            "convert it, for example to JPEG, and upload it again",
        ),
        (
            "too_many_bytes",
            "The file is larger than WORKER_MAX_BYTES.",
            "upload a smaller file, or raise WORKER_MAX_BYTES and upload it again",
        ),
        (
            "too_many_pixels",
            "The image has more pixels than WORKER_MAX_PIXELS or WORKER_MAX_STORED_PIXELS.",
            "scale it down, or raise the setting, and upload it again",
        ),
        (
            "too_many_frames",
            "The animation has too many frames, or too many pixels in all of them.",
            "upload fewer or smaller frames, or raise WORKER_MAX_FRAMES and WORKER_MAX_PIXELS",
        ),
        (
            "too_many_scans",
            "The progressive JPEG has more scans than any program writes.",
            "save it with another program, and upload that file",
        ),
        ("too_small", "A side of the image is shorter than WORKER_MIN_SIDE_PX.", "upload a larger image"),
        (
            "truncated",
            "The file ends before the image data does.",
            "upload the complete file again",
        ),
        (
            "corrupt",
            "The image data cannot be decoded.",
            "open and save it with another program, then upload it again",
        ),
        (
            "decode_timeout",
            "A step took longer than its timeout, or more CPU time than an image of its size may take.",
            "raise WORKER_STEP_TIMEOUT_S, or give the worker more CPU, and upload it again",
        ),
        (
            "decode_out_of_memory",
            "Decoding needs more memory than WORKER_DECODER_MEMORY_MB.",
            "scale it down, or raise WORKER_DECODER_MEMORY_MB, and upload it again",
        ),
        (
            "decoder_crashed",
            "The decoder process exited while it processed the image.",
            "upload it again; if it crashes again, keep the file and report it",
        ),
        (
            "decoder_killed",
            "The decoder process was killed, most likely because the container was out of memory.",
            "give the worker more memory, then run `image-worker images retry` with its id",
        ),
        (
            "worker_killed",
            "A worker ended, or lost its connection, while it processed the image.",
            "see why the worker ended, then run `image-worker images retry` with its id",
        ),
        ("source_missing", "The upload was deleted before it was read.", "upload it again"),
        (
            "result_key_taken",
            "The key of a result belongs to a result of another image.",
            "reprocess or delete the other image, delete the object, and retry this image",
        ),
        (
            "source_archived",
            "S3 has archived the upload.",
            "restore the object, then run `image-worker images retry` with its id",
        ),
        (
            "threat_found",
            "A malware scan has found a threat in the upload, which was not read.",
            "delete the object; if the scan was wrong, scan it again and run `image-worker images retry`",
        ),
        (
            "scan_failed",
            "The upload could not be scanned for malware, and was not read.",
            "see why GuardDuty could not scan it, scan it again, then run `image-worker images retry`",
        ),
        (
            "not_scanned",
            "WORKER_REQUIRE_SCAN is set, and the upload has no scan result.",
            "scan the object with GuardDuty, with tagging, then run `image-worker images retry`",
        ),
        (
            "source_unreadable",
            "S3 does not return the upload although it returns others.",
            "store the object without a key of its own, then run `image-worker images retry`",
        ),
        (
            "access_denied",
            "S3 denies access to the upload although it allows it for others.",
            "allow s3:GetObject for the object, then run `image-worker images retry` with its id",
        ),
        (
            "key_too_long",
            "The key of a result would be longer than S3 allows.",
            "upload it under a shorter key",
        ),
        (
            "result_rejected",
            "S3 rejects the result.",
            "correct what S3 rejects, then run `image-worker images retry` with its id",
        ),
        (
            "record_rejected",
            "DynamoDB rejects the record because of what it contains.",
            "remove attributes of your own from the record, then run `image-worker images retry`",
        ),
        (
            "unreadable",
            "The message does not name an upload of this worker.",
            "S3 did not send it: find its sender, or correct the bucket and the prefix of the worker",
        ),
        (
            "record_unreadable",
            "The record of the image was written by a newer version, or is damaged.",
            "update the workers or correct the record, then redrive the message",
        ),
        (
            "image_id_taken",
            "Other uploads have every image id of the upload.",
            "upload the file under another name",
        ),
        (
            "unknown",
            "No reason is recorded.",
            "look at the log of the workers at that time, then try again",
        ),
        (
            "unavailable",
            "A dependency was unavailable until the last attempt.",
            "once the dependency is available again, run `image-worker images retry` with its id",
        ),
        (
            "being_deleted",
            "The image was still being deleted when this newer upload was received for the last time.",
            "finish that by `image-worker images delete` with its id, then redrive the dead letter",
        ),
        (
            "internal_error",
            "The worker has a bug.",
            "report it, then run `image-worker images retry` with its id",
        ),
    )
}

_STEP_WORDS: Final[Mapping[str, str]] = {
    StepStatus.PENDING: "released",
    StepStatus.PROCESSING: "started",
}
_IMAGE_WORDS: Final[Mapping[str, str]] = {ImageStatus.PROCESSING: "claimed", RETENTION_SET: "kept"}
_REASONS: Final[Mapping[str, str]] = {
    "lease_expired": "its lease expired",
    "uploaded_again": "a newer version was uploaded",
    "retried": "a retry was requested",
    "reprocessed": "reprocessing was requested",
    "requeued": "its message was sent again",
    "deletion_begun": "its deletion began",
    "attempt_raised": "numbered above a result of a lost record",
}
_UNNAMED: Final = frozenset({"code", "format", "reason", "result", "watermarkText", "watermarkType"})
"""Parts of a step's detail that are shown without their names."""

_FLAGS: Final[Mapping[str, str]] = {"hdr": "HDR", "contentCredentials": "content credentials"}
"""Parts of a step's detail that are present only if they are true, and how they are shown."""


def error_words(code: str) -> ErrorWords:
    """Return the cause and the advice for an error code; general ones for an unknown code."""
    return _ERRORS.get(code, _UNKNOWN)


def what_to_do(error: Failure, status: str) -> str | None:
    """Return what to do about an image's error; None while a worker processes the image again."""
    if status is ImageStatus.FAILED:
        return error_words(error.code).advice
    return "nothing: the queue redelivers it" if status is ImageStatus.PENDING else None


def event_text(entry: HistoryEntry) -> str:
    """Return the event of a history entry, without the step's name: `claimed`, `started`, `pending again`."""
    if entry.step is not None:
        return _STEP_WORDS.get(entry.status, entry.status)
    if entry.status == ImageStatus.PENDING:
        return "pending again" if entry.attempt else "uploaded"
    return _IMAGE_WORDS.get(entry.status, entry.status)


def reason_text(entry: HistoryEntry, error: Failure | None) -> str:
    """
    Return the details of a history entry: how long a step took, why the image moved, its error.

    Args:
        entry: An entry of the history.
        error: The image's error: the record keeps only the message of the latest one.
    """
    detail = dict(entry.detail)
    elapsed_ms, reason, code, ttl = (detail.pop(name, None) for name in ("ms", "reason", "code", "ttl"))
    by, via, command = (detail.pop(name, None) for name in ("by", "via", "command"))
    parts = [] if elapsed_ms is None else [f"took {elapsed_ms} ms"]
    if entry.status == RETENTION_SET:
        parts.append(f"until {expiry_text(ttl)}" if isinstance(ttl, int) and ttl >= 0 else "forever")
    if reason is not None:
        parts.append(_REASONS.get(str(reason), str(reason)))
    if code is not None:
        has_message = error is not None and error.code == code and entry.step is None
        parts.append(f"{code}: {error.message}" if error is not None and has_message else str(code))
    requester = [f"{name} {_plain(value)}" for name, value in (("by", by), ("via", via)) if value is not None]
    parts += [" ".join(requester)] if requester else []
    parts += [f"command {_plain(command)}"] if command is not None else []
    return ", ".join((*parts, *filter(None, [detail_text(detail)])))


def flag_words(detail: Mapping[str, Json]) -> list[str]:
    """Return what validation has found in the upload besides its pixels: `HDR`, `content credentials`."""
    return [words for name, words in _FLAGS.items() if detail.get(name) is True]


def expiry_text(ttl: int) -> str:
    """Return when a record expires, given in seconds since 1970."""
    return clock.to_text(datetime.fromtimestamp(min(ttl, _LAST_SECOND), UTC))


def detail_text(detail: Mapping[str, Json]) -> str:
    """Return the detail of a step as text, such as `1920x1080 -> 800x450`."""
    match detail:
        case {
            "dimensions": {
                "original": {"width": int(from_width), "height": int(from_height)},
                "processed": {"width": int(to_width), "height": int(to_height)},
            },
            **rest,
        }:
            sizes = f"{from_width}x{from_height} {_ARROW} {to_width}x{to_height}"
            return ", ".join(filter(None, (sizes, detail_text(rest))))
    return ", ".join(
        _FLAGS[name]
        if name in _FLAGS and value is True
        else _plain(value)
        if name in _UNNAMED
        else f"{name} {_plain(value)}"
        for name, value in detail.items()
    )


def _plain(value: Json) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    return str(value)


def summary_text(entry: HistoryEntry) -> str:
    """Return the summary of dropped entries: how many, of which attempts and days, with what outcomes."""
    first, last = (str(entry.detail.get(name, "?"))[:10] for name in ("from", "to"))
    days = first if first == last else f"{first} to {last}"
    entries, attempts = entry_count([entry]), claim_count([entry])
    what = f"{days}  {entries:,} entries of {attempts:,} attempts are summarised"
    counts = [f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in outcomes([entry]).items()]
    return ": ".join(filter(None, (what, ", ".join(counts))))
