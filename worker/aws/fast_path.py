"""
Fast path for the AWS calls made for every image.

For each call botocore resolves the endpoint, serializes by the service model and emits a dozen events, with
nearly the same outcome. So it makes the first call; if its request is as expected, a template keeps URL,
headers and region. Later calls need a body and botocore's signer, HTTP session and parser.

Any response but a plain success goes to botocore, which repeats its part of the call with this response.
Anything unexpected disables the fast path for the operation. No executed request is sent again. Register
handlers that change requests before the first call.
"""

import json
import re
import zlib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

import structlog
from aiobotocore import config, endpoint, httpchecksum, parsers
from botocore import auth
from botocore import httpchecksum as checksums
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from worker.aws.calls import Call, Client, Output, wrap_calls
from worker.aws.checksums import encoded_crc32
from worker.aws.clock_skew import ClockSkew
from worker.aws.errors import error_code
from worker.aws.http_session import HttpSession

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials

log = structlog.get_logger(__name__)

Http: TypeAlias = Any  # a request, response, session or parser of aiobotocore, which has no types

_JSON_OPERATIONS: Final = {"DeleteMessageBatch", "ReceiveMessage", "TransactWriteItems", "UpdateItem"}
_OBJECT_OPERATIONS: Final = {"GetObject": "GET", "PutObject": "PUT"}
_HEADERS: Final = {
    "CacheControl": "cache-control",
    "ContentType": "content-type",
    "IfMatch": "if-match",
    "IfNoneMatch": "if-none-match",
}
_OBJECT_PARAMETERS: Final = {"Body", "Bucket", "Key", "Metadata", "VersionId", *_HEADERS}
_CHECKSUM: Final = "x-amz-checksum-crc32"
_MAX_BODY_BYTES: Final = 2**20  # aiohttp warns of larger ones; botocore streams them

_NOT_COMMON: Final = re.compile(
    r"amz-sdk-.*|authorization|content-length|x-amz-(content-sha256|date|security-token)"
    # botocore sends an upload in chunks with the checksum behind; here the checksum is a header.
    r"|content-encoding|expect|transfer-encoding|x-amz-(decoded-content-length|trailer)"
)
_SCOPE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request,")
_NOT_EXECUTED: Final = re.compile(  # requests rejected for their form, date or signature
    r"AuthorizationHeaderMalformed|BadDigest|IncompleteSignature|Invalid(Request|SignatureException)"
    r"|NotImplemented|Request(Expired|TimeTooSkewed)|SerializationException|SignatureDoesNotMatch"
    r"|XAmzContentSHA256Mismatch"
)


@dataclass(slots=True)
class _Exchange:
    """The requests that a call of botocore sends, and the response that it gets in place of the first."""

    sent: list[tuple[Http, Http]] = field(default_factory=list)
    response: Http = None


_EXCHANGE: Final = ContextVar[_Exchange | None]("_EXCHANGE", default=None)


@dataclass(slots=True)
class _Request:
    """A request, as botocore's signer and HTTP session read it; the template completes URL and headers."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    stream_output: bool = False
    context: dict[str, object] = field(default_factory=dict)
    params: None = None


@dataclass(frozen=True, slots=True)
class _Template:
    """The common part of the requests of an operation on one resource; their session and parser."""

    url: str
    headers: Mapping[str, str]
    region: str
    session: Http
    parser: Http


def client_config() -> config.AioConfig:
    """Return the configuration that a client needs for the fast path."""
    return config.AioConfig(http_session_cls=_Session)


class _Session(HttpSession):
    """An HTTP session that makes the requests of a call known, or returns a response received before."""

    async def send(self, request: Http) -> Http:
        if (exchange := _EXCHANGE.get()) is not None:
            if exchange.response is not None:
                received, exchange.response = exchange.response, None
                return received
            exchange.sent.append((self, request))
        return await super().send(request)


def enable_fast_path(client: Client, credentials: "AioCredentials | None", clock: ClockSkew) -> None:
    """Make a client that was opened with `client_config()` use the fast path; unsigned requests do not."""
    if credentials is not None:
        wrap_calls(client, lambda *call: FastCall(client, credentials, clock, *call))


@dataclass(slots=True)
class FastCall:
    """The method of a client for one operation; takes the fast path where it can."""

    client: Client
    credentials: "AioCredentials"
    clock: ClockSkew
    operation: str
    original: Call
    _templates: dict[object, _Template] = field(default_factory=dict)
    _is_enabled: bool = True

    async def __call__(self, **parameters: Any) -> Output:  # noqa: ANN401 - as the client's own method
        """Make a call; return or raise what the client's own method would."""
        request = template = None
        try:
            if self._is_enabled and (request := _request(self.operation, parameters)):
                key = (frozenset(parameters), *map(parameters.get, ("Bucket", "QueueUrl", "TableName")))
                if template := self._templates.get(key):
                    await self._sign(request, template)
        except BotoCoreError:
            raise  # the credentials cannot be refreshed
        except Exception as error:  # noqa: BLE001 - fail open: nothing has been sent
            self._disable(error)
            request = None
        if request is None:
            return await self.original(**parameters)
        if template is not None:
            return await self._send(request, template, parameters)
        output = await self._repeat(parameters, exchange := _Exchange())
        try:
            self._templates[key] = self._learn(exchange.sent, request)
            log.debug("aws.fast_path_enabled", operation=self.operation)
        except Exception as error:  # noqa: BLE001 - fail open: botocore has made the call
            self._disable(error)
        return output

    def _learn(self, exchanged: list[tuple[Http, Http]], request: _Request) -> _Template:
        ((session, sent),) = exchanged
        model = self.client.meta.service_model
        headers = {k.lower(): v if isinstance(v, str) else v.decode() for k, v in sent.headers.items()}
        scope = _SCOPE.match(headers.get("authorization", ""))
        if (
            scope is None
            or (sent.method, scope[2]) != (request.method, model.signing_name)
            or not sent.url.endswith(request.url)
            or not request.headers.items() <= {**headers, _CHECKSUM: request.headers.get(_CHECKSUM)}.items()
            or (request.method == "POST" and json.loads(sent.body) != json.loads(request.body or b""))
        ):
            raise ValueError("botocore's request is not the expected one")
        common = {k: v for k, v in headers.items() if not (k in request.headers or _NOT_COMMON.fullmatch(k))}
        factory = parsers.AioResponseParserFactory()
        factory.set_parser_defaults(timestamp_parser=parsedate_to_datetime)  # ten times as fast
        parser = factory.create_parser(model.resolved_protocol)
        return _Template(sent.url.removesuffix(request.url), common, scope[1], session, parser)

    async def _sign(self, request: _Request, template: _Template) -> None:
        request.url = template.url + request.url
        request.headers = {**template.headers, **request.headers}
        request.context = self.clock.signing_context({})
        signer: Any = auth.SigV4Auth if request.method == "POST" else auth.S3SigV4Auth
        keys = await self.credentials.get_frozen_credentials()
        signer(keys, self.client.meta.service_model.signing_name, template.region).add_auth(request)

    async def _send(self, request: _Request, template: _Template, parameters: Mapping[str, Any]) -> Output:
        try:
            http = await template.session.send(request)
        except Exception as error:
            if isinstance(error, BotoCoreError) and type(error) is not HTTPClientError:
                raise  # a connection error or timeout, as botocore raises it
            self._disable(error)
            raise HTTPClientError(error=error) from error  # transient: it may have been executed
        try:
            if (output := await self._parse(http, template)) is not None:
                return output
        except Exception as error:  # noqa: BLE001 - fail open: botocore reads the response
            self._disable(error)
        try:
            return await self._repeat(parameters, _Exchange(response=http))
        except ClientError as error:
            if not _NOT_EXECUTED.fullmatch(error_code(error)):
                raise
            self._disable(error)
        return await self.original(**parameters)

    async def _parse(self, http: Http, template: _Template) -> Output | None:
        """Return the output of the operation; None if the response is not a plain success."""
        headers, model = http.headers, self.client.meta.service_model.operation_model(self.operation)
        is_expected = headers.get("content-type", "").startswith("application/x-amz-json")
        if self.operation in _OBJECT_OPERATIONS:
            is_expected = "x-amz-request-id" in headers and "expires" not in headers  # a handler reads that
        if http.status_code != HTTPStatus.OK or not is_expected:
            return None
        parsed = await endpoint.convert_to_response_dict(http, model)
        validated: dict[str, Any] = {"context": {}}
        checksums.resolve_response_checksum_algorithms(validated, model, {"ChecksumMode": "ENABLED"})
        await httpchecksum.handle_checksum_body(http, parsed, validated["context"], model)
        is_corrupt = "x-amz-crc32" in headers and headers["x-amz-crc32"] != str(zlib.crc32(parsed["body"]))
        if is_corrupt or (self.operation == "PutObject" and parsed["body"]):  # S3 may report errors with 200
            return None
        return await template.parser.parse(parsed, model.output_shape)

    async def _repeat(self, parameters: Mapping[str, Any], exchange: _Exchange) -> Output:
        token = _EXCHANGE.set(exchange)
        try:
            return await self.original(**parameters)
        finally:
            _EXCHANGE.reset(token)

    def _disable(self, error: Exception) -> None:
        if self._is_enabled:
            self._is_enabled = False
            log.warning("aws.fast_path_disabled", operation=self.operation, reason=repr(error))


def _request(operation: str, parameters: Mapping[str, Any]) -> _Request | None:
    """Return the part of a request that differs from call to call; None if botocore has to make the call."""
    if operation in _JSON_OPERATIONS:
        return _Request("POST", "", {}, json.dumps(parameters).encode())
    method, body = _OBJECT_OPERATIONS.get(operation, ""), parameters.get("Body")
    is_known = method and parameters.keys() <= _OBJECT_PARAMETERS
    if not is_known or not isinstance(body, bytes | None) or len(body or b"") > _MAX_BODY_BYTES:
        return None
    version = f"?versionId={quote(parameters['VersionId'], safe='~')}" if "VersionId" in parameters else ""
    headers = {header: parameters[name] for name, header in _HEADERS.items() if name in parameters}
    if body is not None:
        headers[_CHECKSUM] = encoded_crc32(body)
    for name, value in parameters.get("Metadata", {}).items():
        headers[f"x-amz-meta-{name.lower()}"] = value
    return _Request(method, quote(parameters["Key"], safe="/~") + version, headers, body, method == "GET")
