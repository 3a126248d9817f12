"""
List prices of AWS in us-east-1, on demand, in US dollars, as of March 2026.

Excluding free tiers, volume discounts, KMS, CloudWatch, and data transfer out of the region.
"""

from typing import Final

S3_WRITE: Final = 0.005 / 1000
S3_READ: Final = 0.0004 / 1000
S3_GB_MONTH: Final = 0.023
SQS_REQUEST: Final = 0.40 / 1_000_000
"""Price of a request of up to 64 KB: receiving or deleting ten notifications of about 1 KB is one request."""
DYNAMODB_WRITE_UNIT: Final = 0.625 / 1_000_000
DYNAMODB_READ_UNIT: Final = 0.125 / 1_000_000
DYNAMODB_GB_MONTH: Final = 0.25
DYNAMODB_ENTRY_BYTES: Final = 100
"""Storage that DynamoDB adds to each item and to each entry of an index."""
FARGATE_VCPU_S: Final = (0.04048 + 2 * 0.004445) / 3600
"""Price of a vCPU with 2 GB of memory for one second, Linux on x86."""
BUSY_SHARE: Final = 0.75
"""Share of the paid CPU time that is used; the rest is headroom for a higher upload rate."""

S3_WRITE_OPERATIONS: Final = frozenset({"PutObject", "CopyObject", "ListObjectsV2"})
"""Operations billed as writes; all others are billed as reads."""
