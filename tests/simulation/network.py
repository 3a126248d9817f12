"""
What happens to a request on its way to a service and back.

A request is applied at some time after it was sent, and its response arrives at some time after that. The
caller may be dead, suspended, or no longer interested by then. Faults apply to services for a time and to a
share of the requests.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from tests.simulation.chance import Chance
from tests.simulation.loop import ProcessLoop, Scheduler
from worker.aws.errors import UnreadableResponseError
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

Parameters = Mapping[str, Any]
READ_TIMEOUT_S: Final = 20.0
"""The read timeout of the worker's clients."""


class Fault(StrEnum):
    """What can happen to a request."""

    SERVER_ERROR = "server error"
    THROTTLED = "throttled"
    REFUSED = "connection refused"
    REQUEST_LOST = "request lost"
    RESPONSE_LOST = "response lost"
    SLOW = "slow"
    ODD_RESPONSE = "odd response"
    BODY_CUT = "body cut short"
    BODY_STALLED = "body stalled"
    CHECKSUM = "checksum mismatch"
    REDIRECT = "redirect"
    PARTIAL = "part of a batch failed"
    CONFLICT = "conflict"
    STALE_READ = "stale read"


@dataclass(frozen=True, slots=True)
class Weather:
    """A fault that hits a share of the requests to a service."""

    service: str
    fault: Fault
    share: float


class Service(Protocol):
    """A simulated service."""

    name: str

    def call(self, operation: str, parameters: Parameters, request: "Request") -> Any:
        """Carry out an operation; return the response, or a `Later` for one that takes a while."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """
    A request that was sent.

    Attributes:
        sender: Process that sent it.
        service: The service.
        operation: Name of the client's method: `update_item`.
        parameters: The parameters.
        future: Receives the response in the sender's process.
        fault: What happens to it.
        number: Number among the requests of the run.
    """

    sender: ProcessLoop
    service: Service
    operation: str
    parameters: Parameters
    future: "asyncio.Future[Any]"
    fault: Fault | None
    number: int

    @property
    def is_wanted(self) -> bool:
        """Whether the caller still waits for the response."""
        return not self.sender.is_dead and not self.future.done()


class Later(Exception):  # noqa: N818 - not an error: control flow of long polls
    """Raised by a service that will respond by itself, with `Network.respond`."""


@dataclass
class Network:
    """
    Carries requests from processes to services.

    Attributes:
        scheduler: Runs the events.
        chance: Decides delays and faults.
        weather: The faults in effect.
        response_s: Additional time that responses of an operation take.
        exercised: How often each fault hit a request, by service.
        on_sent: Called with each request when it is sent.
        on_applied: Called with each request right after it was applied.
        on_response: Called with each request whose response is delivered without an error.
    """

    scheduler: Scheduler
    chance: Chance
    weather: list[Weather] = field(default_factory=list)
    exercised: Counter[tuple[str, Fault]] = field(default_factory=Counter)
    response_s: dict[str, float] = field(default_factory=dict)
    on_sent: Callable[[Request], None] = lambda _: None
    on_applied: Callable[[Request], None] = lambda _: None
    on_response: Callable[[Request], None] = lambda _: None
    _number: int = 0

    def send(
        self, sender: ProcessLoop, service: Service, operation: str, parameters: Parameters
    ) -> Awaitable[Any]:
        """Send a request; return the awaitable of its response."""
        self._number += 1
        request = Request(
            sender,
            service,
            operation,
            parameters,
            sender.create_future(),
            self._fault(service, operation),
            self._number,
        )
        self.on_sent(request)
        if sender.is_dead:
            return request.future
        label = service.name
        there_s = self.chance.between(0.001, 0.01, label)
        if request.fault is Fault.SLOW:
            there_s += self.chance.between(0.5, 30.0, label)
        if request.fault is Fault.REFUSED:
            self.scheduler.after(there_s, self._deliver, request, _refused(), True)
        elif request.fault is Fault.REQUEST_LOST:
            self.scheduler.after(READ_TIMEOUT_S, self._deliver, request, _timed_out(), True)
        else:
            self.scheduler.after(there_s, self._apply, request)
        return request.future

    def respond(self, request: Request, response: Any, *, is_error: bool = False) -> None:
        """Deliver a response to the sender after a delay."""
        back_s = self.chance.between(0.001, 0.01, request.service.name)
        back_s += self.response_s.get(request.operation, 0.0)
        if request.fault is Fault.RESPONSE_LOST:
            # Closed at once, or never answered: the client's timeout ends it.
            is_closed = self.chance.happens(0.5, "response lost")
            back_s, response, is_error = (
                (back_s, _closed(), True) if is_closed else (READ_TIMEOUT_S, _timed_out(), True)
            )
        elif request.fault is Fault.ODD_RESPONSE:
            response, is_error = _odd(self.chance), True
        self.scheduler.after(back_s, self._deliver, request, response, is_error)

    def _fault(self, service: Service, operation: str) -> Fault | None:
        for each in self.weather:
            is_hit = (
                each.service == service.name
                and _concerns(each.fault, operation)
                and self.chance.happens(each.share, f"{service.name} {each.fault}")
            )
            if is_hit:
                self.exercised[service.name, each.fault] += 1
                return each.fault
        return None

    def _apply(self, request: Request) -> None:
        sender = request.sender
        if not request.is_wanted and self.chance.happens(0.5, "abandoned request"):
            return  # its connection was closed before it had been read
        if request.fault is Fault.SERVER_ERROR:
            self.respond(request, _server_error(request, self.chance), is_error=True)
            return
        if request.fault is Fault.THROTTLED:
            self.respond(request, _throttled(request), is_error=True)
            return
        try:
            response = request.service.call(request.operation, request.parameters, request)
        except (ClientError, BotoCoreError, UnicodeDecodeError) as error:
            self.respond(request, error, is_error=True)
        except Later:
            pass
        else:
            self.respond(request, response)
        if not sender.is_dead:
            self.on_applied(request)

    def _deliver(self, request: Request, response: Any, is_error: bool) -> None:
        if request.sender.is_dead:
            return
        if not is_error:
            self.on_response(request)
        request.sender.call_soon(_settle, request.future, response, is_error)


def _settle(future: "asyncio.Future[Any]", response: Any, is_error: bool) -> None:
    if future.done():
        return
    if is_error:
        future.set_exception(response)
    else:
        future.set_result(response)


_ONLY_FOR: Final[Mapping[Fault, frozenset[str]]] = {
    Fault.ODD_RESPONSE: frozenset({"receive_message"}),
    Fault.BODY_CUT: frozenset({"get_object"}),
    Fault.BODY_STALLED: frozenset({"get_object"}),
    Fault.CHECKSUM: frozenset({"get_object"}),
    Fault.REDIRECT: frozenset({"get_object", "put_object"}),
    Fault.PARTIAL: frozenset(
        {"delete_message_batch", "change_message_visibility_batch", "send_message_batch"}
    ),
    Fault.CONFLICT: frozenset(
        {"transact_write_items", "update_item", "delete_item", "put_object", "delete_object"}
    ),
    Fault.STALE_READ: frozenset({"get_item", "query"}),
}


def _concerns(fault: Fault, operation: str) -> bool:
    return fault not in _ONLY_FOR or operation in _ONLY_FOR[fault]


def client_error(operation: str, code: str, status: int, message: str = "", **more: object) -> ClientError:
    """Return the error that botocore raises for an error response."""
    response: Any = {
        "Error": {"Code": code, "Message": message or code},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(response, operation)


def _server_error(request: Request, chance: Chance) -> ClientError:
    codes = [("InternalServerError", 500), ("ServiceUnavailable", 503), ("InternalError", 500)]
    return client_error(request.operation, *codes[chance.index(len(codes), "server error")])


def _throttled(request: Request) -> ClientError:
    code, status = {
        "dynamodb": ("ProvisionedThroughputExceededException", 400),
        "s3": ("SlowDown", 503),
        "sqs": ("RequestThrottled", 403),
    }[request.service.name]
    return client_error(request.operation, code, status)


def _refused() -> Exception:
    return EndpointConnectionError(endpoint_url="https://simulated")


def _timed_out() -> Exception:
    return ReadTimeoutError(endpoint_url="https://simulated")


def _closed() -> Exception:
    return ConnectionClosedError(endpoint_url="https://simulated")


def _odd(chance: Chance) -> Exception:
    """Return what the worker's clients raise for a page, and for a response that cannot be parsed."""
    odd: list[Exception] = [
        ConfigurationError("a web page responded in place of AWS"),
        UnreadableResponseError(error="ResponseParserError('Unable to parse response')"),
        UnreadableResponseError(error="AttributeError(\"'NoneType' object has no attribute 'get'\")"),
    ]
    return odd[chance.index(len(odd), "odd response")]
