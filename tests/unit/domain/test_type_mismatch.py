import pytest

from tests.support.builders import a_report
from worker.domain.status import StepName
from worker.domain.step import type_mismatch, with_type_mismatch


@pytest.mark.parametrize(
    ("found", "content_type", "key", "expected"),
    [
        ("jpeg", "image/jpeg", "uploads/u/i.jpg", None),
        ("jpeg", "image/jpg; charset=binary", "uploads/u/i.JPEG", None),
        ("jpeg", "application/octet-stream", "uploads/u/i", None),
        ("jpeg", None, "uploads/u.v/i", None),
        ("heic", "image/heif", "uploads/u/IMG_1.HEIF", None),
        ("heic", "image/jpeg", "uploads/u/i.jpg", "image/jpeg"),
        ("heic", "image/heic", "uploads/u/i.jpg", ".jpg"),
        ("png", "image/png", "uploads/u/i.jpeg", ".jpeg"),
        ("png", "text/html", "uploads/u/i.png", "text/html"),
    ],
)
def test_the_declared_type_is_compared_with_the_format_of_the_content(
    found: str, content_type: str | None, key: str, expected: str | None
) -> None:
    assert type_mismatch(found, content_type=content_type, key=key) == expected


def test_a_mismatch_is_added_to_the_validation_report_only() -> None:
    report = a_report(StepName.VALIDATION)
    mismatch = with_type_mismatch(report, content_type="image/png", key="uploads/u/i.png")
    assert mismatch.detail == {**report.detail, "typeMismatch": "image/png"}
    assert with_type_mismatch(report, content_type="image/jpeg", key="uploads/u/i.jpg") is report
    resized = a_report(StepName.RESIZE)
    assert with_type_mismatch(resized, content_type="image/png", key="x.png") is resized
