"""Every AWS call that the suite makes through code of the worker, and who made it; judged at the end."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiobotocore.client import AioBaseClient

from worker.aws.fast_path import FastCall

ROOT = Path(__file__).parents[2]


class Call(NamedTuple):
    """A call of AWS."""

    module: str
    definition: str
    service: str
    operation: str
    parameters: dict[str, Any]


RECORDED: dict[tuple[object, ...], Call] = {}
"""One call of each kind: what it asks for, of which resource, from where."""

FOLDER = os.environ.get("RECORDED_CALLS")
"""Where each process leaves its calls when several share the suite, for one more that judges them."""


@pytest.fixture(scope="session", autouse=True)
def _recording() -> Iterator[None]:
    """Record calls as the clients make them, by the code of ours that stands nearest to the client."""
    make, make_on_fast_path = AioBaseClient._make_api_call, FastCall.__call__

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
        call = Call(*caller, client.meta.service_model.service_name, operation, parameters)
        RECORDED.setdefault((*call[:4], *_kind(parameters)), call)


def _caller() -> tuple[str, str] | None:
    frame = sys._getframe(3)
    worker = f"{ROOT / 'worker'}/"
    # They make calls on behalf of others.
    names = (
        *("aws/calls.py", "aws/fast_path.py", "aws/batcher.py", "aws/retry.py", "telemetry/aws_calls.py"),
        "dynamodb/conditional_update.py",
    )
    between = [f"{worker}{name}" for name in names]
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(worker) and file not in between:
            module = Path(file).relative_to(ROOT).with_suffix("")
            parts = module.parts[:-1] if module.name == "__init__" else module.parts
            return ".".join(parts), frame.f_code.co_qualname.partition(".")[0]
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _kind(parameters: dict[str, Any]) -> tuple[object, ...]:
    key = str(parameters.get("Key", "")) if "Bucket" in parameters else ""
    items = tuple(sorted({kind for item in parameters.get("TransactItems", []) for kind in item}))
    names = ("Bucket", "QueueUrl", "QueueName", "TableName", "VersionId", "IfMatch")
    return key.partition("/")[0], items, *(str(parameters.get(name, ""))[-60:-8] for name in names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Judge the calls after all others are made."""
    items.sort(key=lambda item: item.get_closest_marker("after_all_others") is not None)


def pytest_sessionfinish() -> None:
    """Leave the calls of this process to whoever judges them, less the contents of objects."""
    if FOLDER is not None:
        calls = [call._replace(parameters=call.parameters | {"Body": None}) for call in RECORDED.values()]
        Path(FOLDER).mkdir(parents=True, exist_ok=True)
        (Path(FOLDER) / f"{os.getpid()}.json").write_text(json.dumps(calls, default=str))


def recorded() -> list[Call]:
    """Return the calls of this process, and of those before it that left theirs."""
    left = sorted(Path(FOLDER).glob("*.json")) if FOLDER is not None else []
    return [*RECORDED.values(), *(Call(*call) for file in left for call in json.loads(file.read_text()))]
