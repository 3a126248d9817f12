"""Read from the metadata of a stored result which image, record and attempt it was made for."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """
    A result in the bucket.

    Attributes:
        key: Its key.
        e_tag: ETag, without quotes.
        stored_at: When it was stored.
        user_id: Owner of its image; None if the name of the image is too long for metadata.
        image_id: Id of its image; None as well.
        attempt: Attempt that stored it.
        record: Id of the table and of the record, `{table}/{record}`; empty if it was stored without them.
    """

    key: str
    e_tag: str
    stored_at: datetime
    user_id: str | None
    image_id: str | None
    attempt: int
    record: str

    @property
    def table_id(self) -> str:
        """Id of the table of its record; empty if it is not known."""
        return self.record.partition("/")[0]


def stored_result(key: str, head: "HeadObjectOutputTypeDef") -> StoredResult | None:
    """Return what the metadata of an object shows; None if no worker has stored it."""
    metadata = head["Metadata"]
    identity, attempt = metadata.get("image", ""), metadata.get("attempt", "")
    if not identity or not attempt.isdecimal():
        return None
    user_id, slash, image_id = unquote(identity).partition("/")  # a hash of a long name has no slash
    return StoredResult(
        key=key,
        e_tag=head["ETag"].strip('"'),
        stored_at=head["LastModified"],
        user_id=user_id if slash else None,
        image_id=image_id if slash else None,
        attempt=int(attempt),
        record=metadata.get("record", ""),
    )
