"""Arguments and reports of the repair commands."""

import io
import json

import pytest

from worker.cli import app as command_line
from worker.cli.enqueue import prefix_of
from worker.cli.support.confirmation import confirm
from worker.cli.support.report import Report
from worker.domain.errors import ConfigurationError
from worker.settings import Settings

pytestmark = pytest.mark.usefixtures("_unconfigured_logs")


@pytest.mark.parametrize(
    ("location", "prefix"),
    [
        ("s3://image-uploads/uploads/", "uploads/"),
        ("s3://image-uploads/uploads/alice/img_1", "uploads/alice/img_1"),
    ],
)
def test_a_location_inside_the_uploads_is_accepted(location: str, prefix: str) -> None:
    assert prefix_of(location, Settings()) == prefix


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("uploads/alice/", "is not an S3 location: write it as s3://image-uploads/uploads/"),
        ("s3://", "is not an S3 location: write it as s3://image-uploads/uploads/"),
        ("s3://other/uploads/", "serves the bucket 'image-uploads', not 'other': set WORKER_BUCKET"),
        ("s3://image-uploads", "outside the uploads: start with s3://image-uploads/uploads/"),
        ("s3://image-uploads/processed/", "outside the uploads: start with s3://image-uploads/uploads/"),
    ],
)
def test_a_location_that_the_worker_does_not_serve_is_rejected(location: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        prefix_of(location, Settings())


def test_nothing_is_enqueued_without_a_location_or_a_manifest(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["enqueue"]) == 2
    assert "add s3://BUCKET/PREFIX, or the --manifest of an S3 inventory" in capsys.readouterr().err


def test_an_exit_status_for_findings_is_for_dry_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["enqueue", "s3://image-uploads/uploads/", "--exit-code"]) == 2
    assert "--exit-code is for --dry-run, which enqueues nothing: add --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["retry"], "an ID and --code exclude each other, and one is required"),
        (["retry", "img_1", "--code", "corrupt"], "an ID and --code exclude each other"),
        (["reprocess"], "no images selected: add an ID, --user, --status or --recipe-changed"),
        (["reprocess", "img_1", "--status", "failed"], "remove --status"),
        (["reprocess", "--status", "pending"], "only completed and failed images can be reprocessed"),
        (["reprocess", "--user", "u", "--before", "noon"], "--before is 'noon'"),
    ],
)
def test_contradictory_options_are_a_usage_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run(["images", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_report_as_json_has_counts_and_errors_and_ends_with_1_after_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Report("trying", dry_run=True, json=True) as report:
        report.done("retried", image_id="img_1", user_id="alice")
        report.skipped("already pending")
        report.failed("img_2", "the queue is unreachable")

    assert report.finish() == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "dryRun": True,
        "counts": {"retried": 1, "already pending": 1, "failed": 1},
        "images": [{"imageId": "img_1", "userId": "alice", "action": "retried"}],
        "errors": ["img_2: the queue is unreachable"],
    }
    assert "img_2: the queue is unreachable" in captured.err


def test_a_dry_run_prints_would_be_and_an_empty_report_nothing_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dry = Report("trying", dry_run=True)
    dry.done("retried", image_id="img_[1]", user_id="alice")

    assert dry.finish() == 0
    assert Report("trying").finish() == 0
    assert capsys.readouterr().out.splitlines() == [
        "img_[1]  alice  would be retried",
        "1 retried",
        "nothing to do",
    ]


@pytest.mark.parametrize("arguments", [["images", "delete", "img_1"], ["users", "forget", "alice"]])
def test_a_confirmation_needs_the_whole_name(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = arguments[-1]
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    with pytest.raises(ConfigurationError, match=f"'yes' was typed in place of '{name}'"):
        confirm("This deletes it.", expected=name)
    assert f"Type {name} to confirm it" in capsys.readouterr().err


def test_a_confirmation_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("img_1\n"))

    with pytest.raises(ConfigurationError, match="add --yes"):
        confirm("This deletes it.", expected="img_1")


def test_objects_are_reported_with_their_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with Report("reconciling", dry_run=True) as report:
        report.found("not stored by a worker", key="processed/readme.txt")
        report.removed("orphaned: without a record", key="processed/u/a.jpg")

    assert report.finish() == 0
    assert capsys.readouterr().out.splitlines() == [
        "processed/readme.txt  not stored by a worker",
        "processed/u/a.jpg  would be removed: orphaned: without a record",
        "1 not stored by a worker, 1 would be removed: orphaned: without a record",
    ]


def test_orphans_are_removed_only_after_a_confirmation(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["reconcile", "--remove-orphans"]) == 2
    assert "add --yes, or --dry-run" in capsys.readouterr().err
