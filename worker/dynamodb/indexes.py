"""The keys and the global secondary indexes of the table, as the storage template defines them."""

from typing import Final

KEYS: Final = ("imageId", "userId")
"""Partition and sort key of the table."""
INDEXES: Final = {
    "UserImages": ("userId", "createdAt"),
    "StatusIndex": ("statusShard", "createdAt"),
    "DateIndex": ("dateShard", "createdAt"),
}
"""Index -> its partition and sort key."""
LISTED_ATTRIBUTES: Final = frozenset(
    {
        "status",
        "processedAt",
        "originalFileName",
        "originalFileSize",
        "originalS3Key",
        "processedS3Key",
        "ttl",
    }
)
"""Attributes that lists of images show in addition to the keys."""
