"""The event that GuardDuty Malware Protection for S3 sends for each scanned object."""

from typing import Any

SCANNED = "GuardDuty Malware Protection Object Scan Result"


def a_scan_result(
    key: str,
    *,
    bucket: str = "image-uploads",
    e_tag: str = "abc123",
    version_id: str | None = None,
    status: str = "NO_THREATS_FOUND",
    time: str = "2024-01-01T12:00:30Z",
) -> dict[str, Any]:
    """Return a scan result, as EventBridge delivers it."""
    plan = "arn:aws:guardduty:eu-west-1:123456789012:malware-protection-plan/b4c7f464ab3a4"
    scan_status = {"UNSUPPORTED": "SKIPPED", "ACCESS_DENIED": "SKIPPED", "FAILED": "FAILED"}
    threats = [{"name": "EICAR-Test-File"}] if status == "THREATS_FOUND" else None
    return {
        "version": "0",
        "id": "72c7d362-737a-6dce-fc78-9e27a0171419",
        "detail-type": SCANNED,
        "source": "aws.guardduty",
        "account": "123456789012",
        "time": time,
        "region": "eu-west-1",
        "resources": [plan],
        "detail": {
            "schemaVersion": "1.0",
            "scanStatus": scan_status.get(status, "COMPLETED"),
            "resourceType": "S3_OBJECT",
            "s3ObjectDetails": {
                "bucketName": bucket,
                "objectKey": key,
                "eTag": e_tag,
                "versionId": version_id,
                "s3Throttled": False,
            },
            "scanResultDetails": {"scanResultStatus": status, "threats": threats},
        },
    }
