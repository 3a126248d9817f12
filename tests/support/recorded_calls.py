"""Records the AWS calls that the tests make through worker code, for `tests/test_recorded_calls.py`."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import structlog
from aiobotocore.client import AioBaseClient

from worker.aws.fast_path import FastCall

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).parents[2]

_WORKER = f"{ROOT}/worker/"
_OPERATIONS = f"{_WORKER}console/operations/"
_CONSOLE = (f"{_WORKER}console/", f"{_WORKER}cli/support/console.py")
_DELETIONS = {_WORKER + name for name in ("repair/deletion.py", "events/expiry.py", "cli/delete.py")}
_ENQUEUE = f"{_WORKER}repair/enqueue.py"
_INTERMEDIARIES = {
    *(f"{_WORKER}aws/{name}.py" for name in ("calls", "fast_path", "endpoint_check", "batcher", "retry")),
    *(f"{_WORKER}s3/{name}.py" for name in ("deletes", "heads", "lists")),
    f"{_WORKER}telemetry/aws_calls.py",
}
"""These modules make calls for other modules."""


class Call(NamedTuple):
    """
    An AWS call, and the module and top-level definition of the worker that made it.

    For whom is empty, or `reader` or `operator` for calls of the console, of pages and of actions, or
    `deletion` for those of the commands that delete images, users and the objects of expired records, or
    `enqueue` for those by which `image-worker enqueue` looks for uploads.
    """

    module: str
    definition: str
    for_whom: str
    service: str
    operation: str
    parameters: dict[str, Any]


RECORDED: dict[tuple[object, ...], Call] = {}
"""One call of each kind: the same caller, operation and resources."""

FOLDER = os.environ.get("RECORDED_CALLS")
"""Where each process writes its calls when the suite is split, for the process that checks them."""


@pytest.fixture(scope="session", autouse=True)
def _recording() -> Iterator[None]:
    """Record the calls of all clients, with the function of the worker that is nearest to the client."""
    make = AioBaseClient._make_api_call  # type: ignore[attr-defined]  # not in the stubs
    make_on_fast_path = FastCall.__call__

    async def recorded(self: AioBaseClient, operation: str, parameters: dict[str, Any]) -> object:
        _record(self, operation, parameters)
        return await make(self, operation, parameters)

    async def recorded_on_fast_path(self: FastCall, **parameters: Any) -> object:
        _record(self.client, self.operation, parameters)
        return await make_on_fast_path(self, **parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AioBaseClient, "_make_api_call", recorded)
        patch.setattr(FastCall, "__call__", recorded_on_fast_path)
        yield


def _record(client: Any, operation: str, parameters: dict[str, Any]) -> None:
    caller = _caller()
    if caller is not None:
        call = Call(*caller, _for_whom(), client.meta.service_model.service_name, operation, parameters)
        RECORDED.setdefault((*call[:5], *_kind(parameters)), call)


def _for_whom() -> str:
    """Return for whom the console makes a call; tasks inherit the context of their request."""
    frame: FrameType | None = sys._getframe(3)
    context = structlog.contextvars.get_contextvars()
    is_console = context.get("via") == "console"
    is_deletion = context.get("command") in {"images delete", "users forget"}
    is_enqueue = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OPERATIONS):  # may go on after a restart, without a request
            return "operator"
        is_console |= file.startswith(_CONSOLE)
        is_deletion |= file in _DELETIONS
        is_enqueue |= file == _ENQUEUE
        frame = frame.f_back
    if is_console:
        return "operator" if "by" in context else "reader"
    if is_deletion:
        return "deletion"
    return "enqueue" if is_enqueue else ""


def _caller() -> tuple[str, str] | None:
    frame: FrameType | None = sys._getframe(3)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_WORKER) and file not in _INTERMEDIARIES:
            module = file.removeprefix(f"{ROOT}/").removesuffix(".py").removesuffix("/__init__")
            return module.replace("/", "."), frame.f_code.co_qualname.partition(".")[0]
        frame = frame.f_back
    return None


def _kind(parameters: dict[str, Any]) -> tuple[object, ...]:
    key = str(parameters.get("Key", "")) if "Bucket" in parameters else ""
    items = tuple(sorted({kind for item in parameters.get("TransactItems", []) for kind in item}))
    names = ("Bucket", "QueueUrl", "QueueName", "TableName", "IndexName", "VersionId", "IfMatch")
    return key.partition("/")[0], items, *(str(parameters.get(name, ""))[-60:-8] for name in names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that check the recorded calls last."""
    items.sort(key=lambda item: item.get_closest_marker("after_all_others") is not None)


def pytest_sessionfinish() -> None:
    """Write the calls of this process, without the contents of objects, if the suite is split."""
    if FOLDER is not None:
        calls = [call._replace(parameters=call.parameters | {"Body": None}) for call in RECORDED.values()]
        Path(FOLDER).mkdir(parents=True, exist_ok=True)
        (Path(FOLDER) / f"{os.getpid()}.json").write_text(json.dumps(calls, default=str))


def recorded() -> list[Call]:
    """Return the calls of this process and of earlier processes."""
    files = sorted(Path(FOLDER).glob("*.json")) if FOLDER is not None else []
    return [*RECORDED.values(), *(Call(*call) for file in files for call in json.loads(file.read_text()))]
