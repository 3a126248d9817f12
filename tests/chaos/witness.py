"""
What the workers did, as their AWS saw it: reads every call that passes the proxy, and its true answer.

A write of the record is judged by the attempt that it carries. Once a claim has been answered, a write that
is forwarded with an earlier attempt is stale, and must be refused. So is a result of an earlier attempt than
the one that completed the image, under the key of its result.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
        attempt: The one that it makes, if it is a claim, or else assumes.
        status: What the image becomes, where it changes.
        e_tag: Of the upload that is claimed, where that changes.
        result_key: Of the image's result, where that changes.
    """

    image_id: str
    kind: str
    attempt: int
    status: str | None
    e_tag: str | None
    result_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A write by an attempt that was no longer the last one: what, whose, and against which."""

    what: str
    image_id: str
    attempt: int
    latest: int


@dataclass
class Witness:
    """
    Attributes:
        on_claim: Is told of each claim that landed: the image and the upload's eTag.
        on_end: Is told that an image ended.
        on_message: Is told of each message when it is handed out for the first time: its body.
        calls: How many of each service.
        claims: How many of each image landed.
        ends: How many of each image landed: completed or failed.
        ended: The images whose claimed upload has ended.
        refused: Stale writes that were refused.
        landed: Stale writes that were not: there must be none.
        beside: Late results under another key, because theirs is of another format: they replace nothing,
            but no record names them.
        repeats: Writes of a lease that is still held, refused because they had landed before.
    """

    on_claim: Callable[[str, str], None]
    on_end: Callable[[], None]
    on_message: Callable[[str], None]
    calls: Counter[str] = field(default_factory=Counter)
    claims: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    ended: set[str] = field(default_factory=set)
    refused: list[Stale] = field(default_factory=list)
    landed: list[Stale] = field(default_factory=list)
    beside: int = 0
    repeats: int = 0
    _latest: Counter[str] = field(default_factory=Counter)
    _completed: dict[str, int] = field(default_factory=dict)
    _results: dict[str, str] = field(default_factory=dict)
    _known: dict[Call, Mapping[str, int]] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _messages: set[str] = field(default_factory=set)

    def forwarded(self, call: Call) -> None:
        """Note what was certain when the call went out."""
        service, operation = _name_of(call)
        self.calls[service] += 1
        if operation in {"UpdateItem", "TransactWriteItems"}:
            self._known[call] = {write.image_id: self._latest[write.image_id] for write in _writes(call)}
        elif _is_result(call):
            image_id = _image_of(call)
            self._known[call] = {image_id: self._completed.get(image_id, 0)}

    def answered(self, call: Call, status: int, body: bytes) -> None:
        """Judge the call by what the AWS said."""
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
        items = {} if has_landed else _refused_by(call, body)
        if has_landed and self._is_again(call):
            return
        for write in _writes(call):
            if has_landed:
                self._land(write)
            if write.kind == "claim":
                continue
            latest = max(known[write.image_id], items.get(write.image_id, 0))
            if write.attempt < latest and (has_landed or write.image_id in items):
                stale = Stale(what=write.kind, image_id=write.image_id, attempt=write.attempt, latest=latest)
                (self.landed if has_landed else self.refused).append(stale)
            elif write.image_id in items:
                self.repeats += 1

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

    def _is_again(self, call: Call) -> bool:
        """Tell whether this very transaction has been answered before: its token makes it count once."""
        token = json.loads(call.content).get("ClientRequestToken")
        if token is None:
            return False
        is_again = token in self._tokens
        self._tokens.add(token)
        return is_again

    def _judge_result(self, call: Call, known: Mapping[str, int], status: int) -> None:
        attempt = int(call.headers.get("x-amz-meta-attempt", "0"))
        ((image_id, completed),) = known.items()
        if attempt >= completed:
            return
        stale = Stale(what="result", image_id=image_id, attempt=attempt, latest=completed)
        if status != _OK:
            self.refused.append(stale)
        elif call.path.endswith(f"/{self._results[image_id]}"):
            self.landed.append(stale)
        else:
            self.beside += 1


def _name_of(call: Call) -> tuple[str, str]:
    """Return the service and, but for S3, the operation."""
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
    """Read the writes of images in an update or a transaction."""
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


def _refused_by(call: Call, body: bytes) -> dict[str, int]:
    """Return the attempt in each item whose condition refused; 0 where there was no item."""
    answer = json.loads(body)
    if answer["__type"].endswith("ConditionalCheckFailedException"):
        reasons = [{"Code": "ConditionalCheckFailed", **answer}]
    else:
        reasons = answer.get("CancellationReasons", [])
    return {
        update["Key"]["imageId"]["S"]: decode_map(reason.get("Item") or {}).get("attempt", 0)
        for update, reason in zip(_updates(call), reasons, strict=False)
        if reason.get("Code") == "ConditionalCheckFailed"
    }
