"""Format JSON for people."""

import json
from datetime import datetime

from worker.domain import clock
from worker.domain.printable import UNPRINTABLE


def json_text(value: object) -> str:
    """
    Return one JSON document, indented.

    Times have the format of the table; other values that JSON does not support, such as paths, become text.
    Characters that a terminal would act on are escaped.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    return UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), text)


def _plain(value: object) -> str:
    return clock.to_text(value) if isinstance(value, datetime) else str(value)
