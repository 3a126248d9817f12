"""
The witness of a chaos run: reads every call that passes the proxy, and its true response.

A write to the record is judged by the attempt it carries. Once a claim has succeeded, a write that is
forwarded with an earlier attempt is stale and must be rejected. The same applies to a result of an earlier
attempt than the one that completed the image, under the key of its result.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from tests.support.fault_proxy import Call
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.dynamodb.attributes import decode, decode_map

_EQUAL: Final = re.compile(r"#(\w+) = (:v\d+)")
_ENDS: Final = {"completed", "failed"}
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """
    One write of an image's item.

    Attributes:
        kind: claim, renewal, step or end.
        attempt: The attempt that a claim sets, or that any other write requires.
        status: The new status; None if it does not change.
        e_tag: eTag of the claimed upload; None if it does not change.
        result_key: Key of the image's result; None if it does not change.
    """

    image_id: str
    kind: str
    attempt: int
    status: str | None
    e_tag: str | None
    result_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A write by an attempt that was no longer the latest, which is `latest`."""

    what: str
    image_id: str
    attempt: int
    latest: int


@dataclass
class Witness:
    """
    Attributes:
        on_claim: Called with the image id and the upload's eTag for each claim that landed.
        on_end: Called when an image ends.
        on_message: Called with the body of each message when it is received for the first time.
        calls: Number of calls per service.
        claims: Number of claims per image that landed.
        ends: Number of final transitions per image that landed: completed or failed.
        ended: Images whose claimed upload has ended.
        rejected: Stale writes that were rejected.
        landed: Stale writes that landed; there must be none.
        orphaned: Results of stale attempts in another format, under a key that no record names.
        repeated_writes: Writes under a current lease, rejected because they had landed before.
    """

    on_claim: Callable[[str, str], None]
    on_end: Callable[[], None]
    on_message: Callable[[str], None]
    calls: Counter[str] = field(default_factory=Counter)
    claims: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    ended: set[str] = field(default_factory=set)
    rejected: list[Stale] = field(default_factory=list)
    landed: list[Stale] = field(default_factory=list)
    orphaned: int = 0
    repeated_writes: int = 0
    _latest: Counter[str] = field(default_factory=Counter)
    _completed: dict[str, int] = field(default_factory=dict)
    _results: dict[str, str] = field(default_factory=dict)
    _known: dict[Call, Mapping[str, int]] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _messages: set[str] = field(default_factory=set)

    def forwarded(self, call: Call) -> None:
        """Remember the latest attempt that was known when the call was forwarded."""
        service, operation = _name_of(call)
        self.calls[service] += 1
        if operation in {"UpdateItem", "TransactWriteItems"}:
            self._known[call] = {write.image_id: self._latest[write.image_id] for write in _writes(call)}
        elif _is_result(call):
            image_id = _image_of(call)
            self._known[call] = {image_id: self._completed.get(image_id, 0)}

    def responded(self, call: Call, status: int, body: bytes) -> None:
        """Judge the call by its response."""
        known = self._known.pop(call, {})
        _, operation = _name_of(call)
        if operation in {"UpdateItem", "TransactWriteItems"}:
            self._judge_record(call, known, status, body)
        elif _is_result(call):
            self._judge_result(call, known, status)
        elif operation == "ReceiveMessage" and status == _OK:
            for message in json.loads(body).get("Messages", []):
                if message["MessageId"] not in self._messages:
                    self._messages.add(message["MessageId"])
                    self.on_message(message["Body"])

    def _judge_record(self, call: Call, known: Mapping[str, int], status: int, body: bytes) -> None:
        has_landed = status == _OK
        items = {} if has_landed else _rejecting_attempts(call, body)
        if has_landed and self._is_repeated_transaction(call):
            return
        for write in _writes(call):
            if has_landed:
                self._land(write)
            if write.kind == "claim":
                continue
            latest = max(known[write.image_id], items.get(write.image_id, 0))
            if write.attempt < latest and (has_landed or write.image_id in items):
                stale = Stale(what=write.kind, image_id=write.image_id, attempt=write.attempt, latest=latest)
                (self.landed if has_landed else self.rejected).append(stale)
            elif write.image_id in items:
                self.repeated_writes += 1

    def _land(self, write: Write) -> None:
        if write.kind == "claim":
            self.claims[write.image_id] += 1
            self._latest[write.image_id] = max(self._latest[write.image_id], write.attempt)
            if write.e_tag:
                self.ended.discard(write.image_id)
                self.on_claim(write.image_id, write.e_tag)
        elif write.status in _ENDS:
            self.ends[write.image_id] += 1
            self.ended.add(write.image_id)
            self.on_end()
            if write.status == "completed":
                self._completed[write.image_id] = write.attempt
                if write.result_key is not None:
                    self._results[write.image_id] = write.result_key

    def _is_repeated_transaction(self, call: Call) -> bool:
        """Return whether a transaction with the same token, which makes it idempotent, has succeeded."""
        token = json.loads(call.content).get("ClientRequestToken")
        if token is None:
            return False
        is_repeated = token in self._tokens
        self._tokens.add(token)
        return is_repeated

    def _judge_result(self, call: Call, known: Mapping[str, int], status: int) -> None:
        attempt = int(call.headers.get("x-amz-meta-attempt", "0"))
        ((image_id, completed),) = known.items()
        if attempt >= completed:
            return
        stale = Stale(what="result", image_id=image_id, attempt=attempt, latest=completed)
        if status != _OK:
            self.rejected.append(stale)
        elif call.path.endswith(f"/{self._results[image_id]}"):
            self.landed.append(stale)
        else:
            self.orphaned += 1


def _name_of(call: Call) -> tuple[str, str]:
    """Return the service, and the operation or, for S3, the HTTP method."""
    version, _, operation = call.target.partition(".")
    if not operation:
        return "S3", call.method
    return ("DynamoDB" if version.startswith("DynamoDB") else "SQS"), operation


def _is_result(call: Call) -> bool:
    return not call.target and call.method == "PUT" and "x-amz-meta-attempt" in call.headers


def _image_of(call: Call) -> str:
    return call.path.rpartition("/")[2].partition(".")[0]


def _updates(call: Call) -> list[Any]:
    request = json.loads(call.content)
    if "TransactItems" in request:
        return [item["Update"] for item in request["TransactItems"]]
    return [request]


def _writes(call: Call) -> Iterator[Write]:
    """Yield the writes to images in an update or a transaction."""
    for update in _updates(call):
        image_id = update["Key"]["imageId"]["S"]
        if image_id == PROFILE_IMAGE_ID:
            continue
        values = update.get("ExpressionAttributeValues", {})
        changes = _equalities(update["UpdateExpression"], values)
        assumes = _equalities(update["ConditionExpression"], values)
        if "attempt" in changes:
            kind = "claim"
        elif changes.get("status") in _ENDS:
            kind = "end"
        else:
            kind = "step" if "updatedAt" in changes else "renewal"
        yield Write(
            image_id=image_id,
            kind=kind,
            attempt=changes["attempt"] if kind == "claim" else assumes["attempt"],
            status=changes.get("status"),
            e_tag=changes.get("sourceVersion", {}).get("eTag"),
            result_key=changes.get("processedS3Key"),
        )


def _equalities(expression: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: decode(values[placeholder]) for name, placeholder in _EQUAL.findall(expression)}


def _rejecting_attempts(call: Call, body: bytes) -> dict[str, int]:
    """Return the attempt in each item whose condition failed; 0 if there was no item."""
    response = json.loads(body)
    if response["__type"].endswith("ConditionalCheckFailedException"):
        reasons = [{"Code": "ConditionalCheckFailed", **response}]
    else:
        reasons = response.get("CancellationReasons", [])
    return {
        update["Key"]["imageId"]["S"]: cast("int", decode_map(reason.get("Item") or {}).get("attempt", 0))
        for update, reason in zip(_updates(call), reasons, strict=False)
        if reason.get("Code") == "ConditionalCheckFailed"
    }
