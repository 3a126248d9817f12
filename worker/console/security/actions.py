"""Log what users of the console do."""

from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


def log_action(*, by: str, action: str, filter: Mapping[str, object], count: int) -> None:  # noqa: A002 - its name in the log
    """
    Log one action of an operator.

    Args:
        by: Name of the operator.
        action: Name of the action, as the command line has it: `images retry`.
        filter: What the images were selected by: `{"image_id": ...}`, `{"error_code": ...}`.
        count: Number of images or messages that the action applies to.
    """
    log.info("console.action", by=by, action=action, filter=dict(filter), count=count)
