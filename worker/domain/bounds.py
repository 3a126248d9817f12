"""
Bound what an upload, a decoder process or an error message adds to a record.

Together with the bounds of `history`, of S3 (keys of 1,024 bytes, 2 kB of user metadata) and of the settings
(16 sizes), they keep an item below `MAX_ITEM_BYTES`, far from the 400 kB at which DynamoDB rejects it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from worker.domain.image import Description, Failure, Leftover
from worker.domain.step import Json

MAX_ITEM_BYTES: Final = 64 * 1024
"""Maximum size of an image's item, without the attributes that other programs add."""

MAX_MESSAGE_BYTES: Final = 1024
MAX_DETAIL_BYTES: Final = 2048
MAX_METADATA_BYTES: Final = 8192
MAX_LEFTOVERS_BYTES: Final = 6144
_MAX_NAME_BYTES: Final = 1024
_MAX_TYPE_BYTES: Final = 256
_MAX_TAGS_BYTES: Final = 2048


def bounded_text(text: str, max_bytes: int) -> str:
    """Return the text, or its beginning that has at most `max_bytes` bytes in UTF-8."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors="ignore")


def bounded_failure(failure: Failure) -> Failure:
    """Return the failure with a message of at most `MAX_MESSAGE_BYTES`."""
    return replace(failure, message=bounded_text(failure.message, MAX_MESSAGE_BYTES))


def bounded_detail(detail: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the detail of a step without the values that exceed `MAX_DETAIL_BYTES` in total."""
    kept, left = {}, MAX_DETAIL_BYTES
    for name, value in detail.items():
        size_bytes = len(json.dumps({name: value}, ensure_ascii=False).encode(errors="replace"))
        if size_bytes <= left:
            kept[name] = value
            left -= size_bytes
    return kept


def bounded_description(description: Description) -> Description:
    """Return the metadata of an uploaded object within the bounds of a record."""
    name = description.file_name
    return replace(
        description,
        file_name=bounded_text(name, _MAX_NAME_BYTES) if name else name,
        file_type=bounded_text(description.file_type, _MAX_TYPE_BYTES),
        tags=tuple(_while_within(description.tags, _MAX_TAGS_BYTES)),
    )


def bounded_leftovers(leftovers: Sequence[Leftover]) -> tuple[Leftover, ...]:
    """Return the last leftovers that have at most `MAX_LEFTOVERS_BYTES`: `reconcile` finds the others."""
    kept, left = [], MAX_LEFTOVERS_BYTES
    for leftover in reversed(leftovers):
        left -= len(leftover.key.encode(errors="replace")) + len(leftover.e_tag)
        if left < 0:
            break
        kept.append(leftover)
    return tuple(reversed(kept))


def with_metadata(existing: Mapping[str, str], added: Mapping[str, str]) -> Mapping[str, str]:
    """
    Return metadata with further entries, as far as they fit into `MAX_METADATA_BYTES`.

    Args:
        existing: Metadata that is kept as it is, because its owner may have set it.
        added: Further metadata; what exists already is left out.
    """
    if not added:
        return existing
    left = MAX_METADATA_BYTES - sum(map(_entry_bytes, existing.items()))
    kept = {}
    for entry in added.items():
        if entry[0] not in existing and _entry_bytes(entry) <= left:
            kept[entry[0]] = entry[1]
            left -= _entry_bytes(entry)
    return {**kept, **existing}


def _while_within(texts: Iterable[str], max_bytes: int) -> Iterable[str]:
    for text in texts:
        max_bytes -= len(text.encode(errors="replace"))
        if max_bytes < 0:
            return
        yield text


def _entry_bytes(entry: tuple[str, str]) -> int:
    return sum(len(text.encode(errors="replace")) for text in entry)
