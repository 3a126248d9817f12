"""
Build the conditional updates of an image.

An update writes the difference between two states of the image, on condition that the stored item is still
in the first one.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from worker.domain.errors import LeaseLostError
from worker.domain.history import has_added, has_begun
from worker.domain.image import Image
from worker.domain.step import Json
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.items import Item, to_item
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import UpdateTypeDef

_KEY = ("imageId", "userId")


def create_update(image: Image, table: Table) -> "UpdateTypeDef":
    """Return the request that writes a new image, on condition that there is none."""
    expression = _difference({}, to_item(image, table))
    expression.require_equal("imageId", None)
    return expression.request(table, image_id=image.image_id, user_id=image.user_id)


def claim_update(seen: Image, after: Image, table: Table) -> "UpdateTypeDef":
    """
    Return the request that writes a claim, on condition that the image is as it was seen.

    A claim that shortens the history writes it as a whole, so the history is part of the condition.
    """
    expression = _difference(to_item(seen, table), to_item(after, table))
    expression.require_unchanged(seen)
    if after.history[: len(seen.history)] != seen.history:
        expression.require_same_update(seen)
    return expression.request(table, image_id=seen.image_id, user_id=seen.user_id)


def repair_update(seen: Image, after: Image, table: Table) -> "UpdateTypeDef":
    """
    Return the request that writes the change of a repair tool, on condition that the image is as it was seen.

    Requeuing a pending image changes nothing but its history, so the history is part of the condition.
    """
    expression = _difference(to_item(seen, table), to_item(after, table))
    expression.require_unchanged(seen)
    expression.require_same_update(seen)
    return expression.request(table, image_id=seen.image_id, user_id=seen.user_id)


def progress_update(before: Image, after: Image, table: Table) -> "UpdateTypeDef":
    """Return the request that writes a worker's progress, on condition that its lease is held."""
    expression = _difference(to_item(before, table), to_item(after, table))
    expression.require_held(before)
    expression.require_same_history(before)
    return expression.request(table, image_id=before.image_id, user_id=before.user_id)


def renew_update(image: Image, until_ms: int, table: Table) -> "UpdateTypeDef":
    """Return the request that extends a lease to a time in milliseconds since 1970, if it is held."""
    expression = UpdateExpression()
    expression.set("leaseExpiresAt", until_ms)
    expression.require_held(image)
    return expression.request(table, image_id=image.image_id, user_id=image.user_id)


def clear_leftovers_update(image: Image, table: Table) -> "UpdateTypeDef":
    """Return the request that removes an image's leftovers, if it was not claimed since it was read."""
    expression = UpdateExpression()
    expression.remove("leftovers")
    expression.require_unchanged(image)
    return expression.request(table, image_id=image.image_id, user_id=image.user_id)


def was_applied(stored: Image, before: Image, after: Image) -> bool:
    """
    Return whether a rejected update had been applied by an earlier request, whose response was lost.

    The entries that it added to the history have the same numbers in the stored one, however many entries
    were dropped since.

    Args:
        stored: The image that failed the condition.
        before: The state that the update started from.
        after: The state that the update leads to.
    """
    return stored.attempt == after.attempt and has_added(
        stored.history, before=before.history, after=after.history
    )


def resume_from(stored: Image | None, before: Image, after: Image) -> Image | None:
    """
    Return the state from which to repeat a rejected `progress_update`; None if nothing is left to write.

    An update is rejected although the lease is held when an earlier request was applied, as a whole or in
    part, and its response was lost. The history of the stored image shows which part.

    Args:
        stored: The image that failed the condition; None if there is none.
        before: The state that the update started from.
        after: The state that the update leads to.

    Raises:
        LeaseLostError: The lease is no longer held.
    """
    if stored is not None and was_applied(stored, before, after):
        return None
    if stored is None or not _is_partly_applied(stored, before, after):
        raise LeaseLostError(image_id=before.image_id, attempt=before.attempt)
    return replace(stored, lease=before.lease)  # a renewal may have moved its end: leave that as it is


def _is_partly_applied(stored: Image, before: Image, after: Image) -> bool:
    is_held = (
        stored.attempt in {before.attempt, after.attempt}
        and stored.lease is not None
        and before.lease is not None
        and stored.lease.owner == before.lease.owner
    )
    return is_held and has_begun(stored.history, before=before.history, after=after.history)


def _difference(old: Item, new: Item) -> UpdateExpression:
    expression = UpdateExpression()
    for path, value in new.items():
        if path in _KEY or old.get(path) == value:
            continue
        added = _appended(old.get(path), value) if path == "history" else None
        if added is not None:
            expression.append(path, added)
        else:
            expression.set(path, value)
    for path in old.keys() - new.keys():
        expression.remove(path)
    return expression


def _appended(old: Json, new: Json) -> list[Json] | None:
    """Return what was appended to a history; None if it was shortened, or starts over after an expiry."""
    if isinstance(old, list) and isinstance(new, list) and new[: len(old)] == old:
        return new[len(old) :]
    return None
