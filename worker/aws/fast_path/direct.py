"""
The calls that each picture makes, without botocore's generality.

botocore finds out for each call anew what the service's model says of it, where it goes, and how it is
signed, which takes most of the CPU time of a call. Here the requests of a few operations are written down
instead. How they look is learnt from botocore itself: it makes the first call of each kind, and only where
its request says what ours would say do the next ones go directly, to the same place and with the same
headers. Everything else stays botocore's: credentials, connections, whatever goes through a proxy, and every
answer but the plain ones.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.awsrequest import AWSPreparedRequest
from botocore.hooks import first_non_none_response

from worker.aws.fast_path.requests import Parameters, Written, write
from worker.aws.fast_path.responses import Reader
from worker.aws.fast_path.signing import Signer
from worker.aws.fast_path.wire import exchange, session_for

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials
    from aiohttp import ClientSession

log = structlog.get_logger(__name__)

Call = Callable[[str, Parameters], Awaitable[Any]]

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
_SENT: Final = ContextVar[list[AWSPreparedRequest] | None]("_SENT", default=None)
"""What botocore sends meanwhile."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the calls of one operation have in common: where they go, what they carry, who signs and reads."""

    root: str
    headers: Mapping[str, str]
    signer: Signer
    session: "ClientSession"
    reader: Reader
    event: str


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
        written = write(operation, parameters)
        if written is None:
            return await self._by_botocore(operation, parameters)
        name = (operation, parameters.get("Bucket", ""))
        if name not in self._kinds:
            return await self._learn(name, written, parameters)
        kind = self._kinds[name]
        if kind is None:
            return await self._by_botocore(operation, parameters)
        return await self._send(written, kind)

    async def _learn(self, name: tuple[str, str], written: Written, parameters: Parameters) -> Any:  # noqa: ANN401
        """Have botocore make the call; see from what it sends how the next ones are to be made."""
        sent: list[AWSPreparedRequest] = []
        former = _SENT.set(sent)
        try:
            answer = await self._by_botocore(name[0], parameters)
        finally:
            _SENT.reset(former)
        self._kinds[name] = kind = await self._compare(name[0], sent[-1], written)
        log.debug("aws.learnt", operation=name[0], is_direct=kind is not None)
        return answer

    async def _compare(self, operation: str, theirs: AWSPreparedRequest, ours: Written) -> _Kind | None:
        """Return how calls of this kind are made; None where botocore says something that we would not."""
        said = {name.lower(): _text(value) for name, value in theirs.headers.items()}
        scope = _SCOPE.match(said.get("authorization", ""))
        is_alike = (
            theirs.method == ours.method
            and theirs.url.endswith(ours.tail)
            and all(said.get(name, value) == value for name, value in ours.headers.items())
            and ours.headers.keys() <= said.keys() | {said.get("x-amz-trailer")}
            and (theirs.method != "POST" or _is_same_json(theirs.body, ours.body))
        )
        session = await session_for(self.client, theirs.url)
        if scope is None or scope["service"] != self._model.signing_name or not is_alike or session is None:
            return None
        return _Kind(
            root=theirs.url.removesuffix(ours.tail),
            headers={
                name: value
                for name, value in said.items()
                if name not in _OF_ONE_REQUEST | _OF_CHUNKS | ours.headers.keys()
            },
            signer=Signer(self._credentials, region=scope["region"], service=scope["service"]),
            session=session,
            reader=Reader.of(self.client, self._model.operation_model(operation)),
            event=f"before-send.{self._model.service_id.hyphenize()}.{operation}",
        )

    async def _send(self, written: Written, kind: _Kind) -> Any:  # noqa: ANN401
        url = kind.root + written.tail
        headers: Any = {**kind.headers, **written.headers}  # typed as what is slower, used as a mapping
        payload_hash = hashlib.sha256(written.body).hexdigest()
        if written.method != "POST":
            headers["x-amz-content-sha256"] = payload_hash
        await kind.signer.sign(written.method, url, headers, payload_hash=payload_hash)
        is_stream = kind.reader.content is not None
        request = AWSPreparedRequest(written.method, url, headers, written.body or None, is_stream)
        said = await self.client.meta.events.emit(kind.event, request=request)
        if (given := first_non_none_response(said)) is not None:
            return await kind.reader.as_botocore(given)
        response = await exchange(kind.session, written.method, url, headers, written.body)
        return await kind.reader.read(response)


def _is_same_json(theirs: object, ours: bytes) -> bool:
    return isinstance(theirs, bytes) and json.loads(theirs) == json.loads(ours)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
