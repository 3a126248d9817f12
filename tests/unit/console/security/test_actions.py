from structlog.testing import capture_logs

from worker.console.security import log_action


def test_an_action_is_one_log_line() -> None:
    with capture_logs() as logged:
        log_action(by="alice", action="images retry", filter={"error_code": "too_many_pixels"}, count=12)
    assert logged == [
        {
            "event": "console.action",
            "log_level": "info",
            "by": "alice",
            "action": "images retry",
            "filter": {"error_code": "too_many_pixels"},
            "count": 12,
        }
    ]
