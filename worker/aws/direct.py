"""
The calls that each picture makes, without botocore's generality.

botocore finds out for each call anew what the service's model says of it, where it goes, and how it is
signed, which takes most of the CPU time of a call. Here the requests of a few operations are written down
instead. How they look is learnt from botocore itself: it makes the first call of each kind, and only where
its request says what ours would say do the next ones go directly, to the same place and with the same
headers. Everything else stays botocore's: credentials, connections, proxies, reading answers and errors.
"""

import base64
import hashlib
import io
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from botocore.awsrequest import AWSPreparedRequest

from worker.aws.signing import Signer

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials

log = structlog.get_logger(__name__)

Parameters = Mapping[str, Any]
Call = Callable[[str, Parameters], Awaitable[Any]]

_JSON_OPERATIONS: Final = frozenset(
    {
        "ChangeMessageVisibilityBatch",
        "DeleteMessageBatch",
        "ReceiveMessage",
        "TransactWriteItems",
        "UpdateItem",
    }
)
"""Operations whose parameters are their body; all that they carry is text, numbers, lists and maps."""

_CONDITIONS: Final = {"IfMatch": "if-match", "IfNoneMatch": "if-none-match"}
_READ_BY: Final = frozenset({"Bucket", "Key", "VersionId", *_CONDITIONS})
_WRITTEN_BY: Final = frozenset({"Body", "Bucket", "ContentType", "Key", "Metadata", *_CONDITIONS})

_OF_ONE_REQUEST: Final = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    }
)
_OF_CHUNKS: Final = frozenset(
    {"content-encoding", "expect", "transfer-encoding", "x-amz-decoded-content-length", "x-amz-trailer"}
)
"""How botocore sends a body in pieces with its checksum behind; ours goes whole, its checksum in front."""

_SCOPE: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,"
)
_COMPARED_WITH: Final = {"checksum": {"response_algorithms": ["crc32", "sha1", "sha256"]}}
"""The checksums of an object, of which what is read is compared with the first that S3 has."""

_MOST_AT_ONCE: Final = 2**20
"""A longer body is sent in pieces, so that it does not hold up the loop."""

_SENT: Final = ContextVar[list[AWSPreparedRequest] | None]("_SENT", default=None)
"""What botocore sends meanwhile."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A request of ours, but for where it goes, and what all of its kind have in common."""

    method: str
    tail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the requests of one operation have in common: where they go, what they carry, who signs."""

    root: str
    headers: Mapping[str, str]
    signer: Signer


def make_directly(client: Any, credentials: "AioCredentials | None") -> None:  # noqa: ANN401 - any service's
    """
    Let a client make the calls of each picture directly, and all others as before.

    It wraps `_make_api_call`, through which every call of a client passes, as `watch_calls` does: a client
    that is to be watched is watched afterwards.

    Args:
        client: Of DynamoDB, S3 or SQS, just opened.
        credentials: The client's; None where requests are not signed: then everything stays as it was.
    """
    if credentials is not None:
        client.meta.events.register("before-send", _note)
        client._make_api_call = Direct(client, credentials)  # noqa: SLF001 - see above


def _note(request: AWSPreparedRequest, **_other: object) -> None:
    if (sent := _SENT.get()) is not None:
        sent.append(request)


class Direct:
    """Stands in for `_make_api_call` of one client; see `make_directly`."""

    def __init__(self, client: Any, credentials: "AioCredentials") -> None:  # noqa: ANN401
        self.client, self._credentials = client, credentials
        self._model = client.meta.service_model
        self._by_botocore: Call = client._make_api_call  # noqa: SLF001 - see `make_directly`
        self._kinds: dict[tuple[str, str], _Kind | None] = {}

    async def __call__(self, operation: str, parameters: Parameters) -> Any:  # noqa: ANN401 - as botocore has it
        """Make a call, with the parameters and the answer that botocore has for it."""
        written = _write(operation, parameters)
        if written is None:
            return await self._by_botocore(operation, parameters)
        name = (operation, parameters.get("Bucket", ""))
        if name not in self._kinds:
            return await self._learn(name, written, parameters)
        kind = self._kinds[name]
        if kind is None:
            return await self._by_botocore(operation, parameters)
        return await self._send(operation, written, kind)

    async def _learn(self, name: tuple[str, str], written: _Written, parameters: Parameters) -> Any:  # noqa: ANN401
        """Have botocore make the call; see from what it sends how the next ones are to be made."""
        sent: list[AWSPreparedRequest] = []
        former = _SENT.set(sent)
        try:
            answer = await self._by_botocore(name[0], parameters)
        finally:
            _SENT.reset(former)
        self._kinds[name] = kind = self._compare(sent[-1], written)
        log.debug("aws.learnt", operation=name[0], is_direct=kind is not None)
        return answer

    def _compare(self, theirs: AWSPreparedRequest, ours: _Written) -> _Kind | None:
        """Return how requests of this kind are made; None where botocore says something that we would not."""
        said = {name.lower(): _text(value) for name, value in theirs.headers.items()}
        scope = _SCOPE.match(said.get("authorization", ""))
        is_alike = (
            theirs.method == ours.method
            and theirs.url.endswith(ours.tail)
            and all(said.get(name, value) == value for name, value in ours.headers.items())
            and ours.headers.keys() <= said.keys() | {said.get("x-amz-trailer")}
            and (theirs.method != "POST" or _is_same_json(theirs.body, ours.body))
        )
        if scope is None or scope["service"] != self._model.signing_name or not is_alike:
            return None
        return _Kind(
            root=theirs.url.removesuffix(ours.tail),
            headers={
                name: value
                for name, value in said.items()
                if name not in _OF_ONE_REQUEST | _OF_CHUNKS | ours.headers.keys()
            },
            signer=Signer(self._credentials, region=scope["region"], service=scope["service"]),
        )

    async def _send(self, operation: str, written: _Written, kind: _Kind) -> Any:  # noqa: ANN401
        url = kind.root + written.tail
        headers: Any = {**kind.headers, **written.headers}  # typed as what is slower, used as a mapping
        body = written.body
        payload_hash = hashlib.sha256(body).hexdigest()
        if written.method != "POST":
            headers["x-amz-content-sha256"] = payload_hash
        await kind.signer.sign(written.method, url, headers, payload_hash=payload_hash)
        model = self._model.operation_model(operation)
        request = AWSPreparedRequest(
            written.method,
            url,
            headers,
            body=io.BytesIO(body) if len(body) > _MOST_AT_ONCE else body or None,
            stream_output=model.has_streaming_output,
        )
        # Sends, reads and parses, as for requests of its own.
        success, failure = await self.client._endpoint._do_get_response(  # noqa: SLF001
            request, model, _COMPARED_WITH if operation == "GetObject" else {}
        )
        if failure is not None:
            raise failure
        http, answer = success
        if http.status_code >= 300:  # noqa: PLR2004 - a redirect is a refusal too
            error = answer.get("Error", {})  # SQS's exceptions are named by its new codes, and carry the old
            named = error.get("QueryErrorCode", error.get("Code"))
            raise self.client.exceptions.from_code(named)(answer, operation)
        return answer


def _write(operation: str, parameters: Parameters) -> _Written | None:
    """Write a request down; None where that is left to botocore."""
    if operation in _JSON_OPERATIONS:
        return _Written("POST", body=_to_json(parameters).encode())
    if operation == "GetObject" and parameters.keys() <= _READ_BY:
        return _Written("GET", _tail(parameters), _conditions(parameters))
    if (
        operation == "PutObject"
        and parameters.keys() <= _WRITTEN_BY
        and isinstance(parameters["Body"], bytes)
    ):
        body: bytes = parameters["Body"]
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        headers = {"x-amz-checksum-crc32": checksum, **_conditions(parameters)}
        for name, value in parameters.get("Metadata", {}).items():
            headers[f"x-amz-meta-{name.lower()}"] = value
        if "ContentType" in parameters:
            headers["content-type"] = parameters["ContentType"]
        return _Written("PUT", _tail(parameters), headers, body)
    return None


_to_json: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _tail(parameters: Parameters) -> str:
    version = f"?versionId={quote(parameters['VersionId'], safe='~')}" if "VersionId" in parameters else ""
    return quote(parameters["Key"], safe="/~") + version


def _conditions(parameters: Parameters) -> dict[str, str]:
    return {header: parameters[name] for name, header in _CONDITIONS.items() if name in parameters}


def _is_same_json(theirs: object, ours: bytes) -> bool:
    return isinstance(theirs, bytes) and json.loads(theirs) == json.loads(ours)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
