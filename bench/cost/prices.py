"""
What AWS asks for: list prices of us-east-1 in US dollars, on demand, as of March 2026.

Without free tiers, discounts for volume, KMS, CloudWatch, and data that leaves the region.
"""

from dataclasses import dataclass
from typing import Final

S3_WRITE: Final = 0.005 / 1000
S3_READ: Final = 0.0004 / 1000
S3_GB_MONTH: Final = 0.023
SQS_REQUEST: Final = 0.40 / 1_000_000
"""Of up to 64 KB: a batch of ten announcements of about 1 KB, received or deleted, is one."""
DYNAMODB_WRITE_UNIT: Final = 0.625 / 1_000_000
DYNAMODB_READ_UNIT: Final = 0.125 / 1_000_000
DYNAMODB_GB_MONTH: Final = 0.25
DYNAMODB_ENTRY_BYTES: Final = 100
"""What DynamoDB adds to the size of each item, and of each entry of an index."""
FARGATE_VCPU_S: Final = (0.04048 + 2 * 0.004445) / 3600
"""Linux on x86, with two GB for each vCPU."""
BUSY_SHARE: Final = 0.75
"""How much of what is paid for works: the rest is room for the next minute's uploads."""

WRITES_OF_S3: Final = frozenset({"PutObject", "CopyObject", "ListObjectsV2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one picture costs, by service."""

    s3: float
    sqs: float
    dynamodb: float
    fargate: float
    storage: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.s3 + self.sqs + self.dynamodb + self.fargate + self.storage
