"""The result of a malware scan of an upload, as Amazon GuardDuty reports it."""

from enum import StrEnum


class ScanStatus(StrEnum):
    """`scanResultStatus` of GuardDuty Malware Protection for S3, in its events and its tag of the object."""

    NO_THREATS_FOUND = "NO_THREATS_FOUND"
    THREATS_FOUND = "THREATS_FOUND"
    UNSUPPORTED = "UNSUPPORTED"
    """The object was not scanned: it has a password, or is beyond a quota or a feature of GuardDuty."""
    ACCESS_DENIED = "ACCESS_DENIED"
    """The object was not scanned: GuardDuty may not read it."""
    FAILED = "FAILED"
    """The scan failed by an error of GuardDuty."""
