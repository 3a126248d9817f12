"""
What AWS answers to the calls that are made directly.

Where all is well, it is read here: JSON as it is, and of an object what its headers say, by botocore's own
model. Every other answer is read by botocore, as after a request of its own.
"""

import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.endpoint import convert_to_response_dict
from aiobotocore.httpchecksum import handle_checksum_body
from aiobotocore.response import StreamingBody
from botocore.exceptions import ChecksumError
from botocore.utils import parse_timestamp

from worker.aws.fast_path.wire import failures_named

if TYPE_CHECKING:
    import aiohttp
    from botocore.model import OperationModel

Answer = dict[str, Any]
Headers = Mapping[str, str]
Http: TypeAlias = Any
"""What `_http` returns."""

_http: Final[Callable[..., Http]] = AioAWSResponse
"""Makes an answer as botocore has it of its URL, status, headers and aiohttp's; typed as if of urllib3's."""

_body: Final[Callable[..., object]] = StreamingBody
"""Makes what the content of an object is read from, of aiohttp's answer and its length; typed likewise."""

_OK: Final = 200
_LEAST_REFUSAL: Final = 300
"""A redirect is a refusal too."""

_JSON: Final = "application/x-amz-json"
_COMPARED_WITH: Final = {"checksum": {"response_algorithms": ["crc32", "sha1", "sha256"]}}
"""The checksums of an object, of which what is read is compared with the first that S3 has."""

_READ_AS: Final[Mapping[str, Callable[[str], object]]] = {
    "boolean": lambda text: text.lower() == "true",
    "integer": int,
    "long": int,
    "string": str,
    "timestamp": parsedate_to_datetime,
}
"""What a header says, by the type that the model has for it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """
    Reads the answers to one operation.

    Args:
        client: Which makes the calls.
        model: Of the operation.
        members: Of the answer: header -> name, and what reads it.
        maps: Of the answer, whose entries are headers of their own: prefix of those -> name.
        content: Name of the member that is the body, where that is not read but handed on.
    """

    client: Any
    model: "OperationModel"
    members: Mapping[str, tuple[str, Callable[[str], object]]]
    maps: Mapping[str, str]
    content: str | None

    @classmethod
    def of(cls, client: Any, model: "OperationModel") -> "Reader":  # noqa: ANN401 - a client of any service
        """Look up in the model what stands where."""
        members, maps = {}, {}
        shape: Any = model.output_shape  # typed as if it had no members
        for name, member in shape.members.items() if shape else ():
            at = member.serialization
            if at.get("location") == "header":
                reads = _READ_AS[member.type_name]
                if at.get("timestampFormat", "rfc822") != "rfc822":
                    reads = parse_timestamp
                members[at["name"].lower()] = (name, reads)
            elif at.get("location") == "headers":
                maps[at["name"]] = name
        content = shape.serialization["payload"] if model.has_streaming_output else None
        return cls(client, model, members, maps, content)

    async def read(self, response: "aiohttp.ClientResponse") -> Answer:
        """
        Read an answer; the content of an object is left to the caller.

        Raises:
            ClientError: It is a refusal.
            ChecksumError: It is not what its checksum says.
            BotoCoreError: The connection broke.
        """
        headers = {name.decode().lower(): value.decode() for name, value in response.raw_headers}
        url = str(response.url)
        try:
            with failures_named(url):
                if response.status == _OK and self.model.service_model.resolved_protocol == "json":
                    if headers.get("content-type", "").startswith(_JSON):
                        body = await response.read()
                        with suppress(orjson.JSONDecodeError):  # botocore makes of it what it can
                            return _from_json(body, headers)
                elif response.status == _OK and "x-amz-request-id" in headers and "expires" not in headers:
                    return await self._from_headers(response, headers)
                return await self.as_botocore(_http(url, response.status, headers, response))
        except BaseException:
            response.close()
            raise

    async def as_botocore(self, http: Http) -> Answer:
        """Have an answer read by botocore, and raise what it has for a refusal."""
        said, customized = await convert_to_response_dict(http, self.model), dict[str, Any]()
        await handle_checksum_body(http, said, _COMPARED_WITH if self.content is not None else {}, self.model)
        where = f"{self.model.service_model.service_id.hyphenize()}.{self.model.name}"
        await self.client.meta.events.emit(
            f"before-parse.{where}",
            operation_model=self.model,
            response_dict=said,
            customized_response_dict=customized,
        )
        endpoint = self.client._endpoint  # noqa: SLF001 - nothing public reads an answer
        parser = endpoint._response_parser_factory.create_parser(self.model.service_model.resolved_protocol)  # noqa: SLF001
        answer: Answer = await parser.parse(said, self.model.output_shape)
        answer.update(customized)
        if http.status_code < _LEAST_REFUSAL:
            return answer
        await endpoint._add_modeled_error_fields(said, answer, self.model, parser)  # noqa: SLF001
        error = answer.get("Error", {})  # SQS's exceptions are named by its new codes, and carry the old
        named = error.get("QueryErrorCode", error.get("Code"))
        raise self.client.exceptions.from_code(named)(answer, self.model.name)

    async def _from_headers(self, response: "aiohttp.ClientResponse", headers: Headers) -> Answer:
        answer: Answer = {"ResponseMetadata": _metadata(headers)}
        for header, value in headers.items():
            if header in self.members:
                name, reads = self.members[header]
                answer[name] = reads(value)
        for prefix, name in self.maps.items():
            answer[name] = {
                header.removeprefix(prefix): value
                for header, value in headers.items()
                if header.startswith(prefix)
            }
        if self.content is None:
            await response.read()
        else:
            http = _http(str(response.url), response.status, {}, response)
            body = _body(response, headers.get("content-length"))
            said = {"headers": headers, "body": body, "context": {}}
            await handle_checksum_body(http, said, _COMPARED_WITH, self.model)
            answer[self.content] = said["body"]
        return answer


def _from_json(body: bytes, headers: Headers) -> Answer:
    said = headers.get("x-amz-crc32")
    if said is not None and said != (found := str(zlib.crc32(body))):
        raise ChecksumError(checksum_type="crc32", expected_checksum=said, actual_checksum=found)
    answer: Answer = orjson.loads(body) if body else {}
    return answer | {"ResponseMetadata": _metadata(headers)}


def _metadata(headers: Headers) -> dict[str, Any]:
    return {"HTTPStatusCode": _OK, "HTTPHeaders": headers}
