"""Simulated SQS queues: visibility, receive counts, redelivery, duplicates, and a dead-letter policy."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from tests.simulation.chance import Chance
from tests.simulation.determinism import true_time
from tests.simulation.loop import Scheduler
from tests.simulation.network import Fault, Later, Network, Parameters, Request

QUEUE: Final = "https://sqs.simulated/image-events"
DEAD_LETTERS: Final = "https://sqs.simulated/image-events-dead"
_URLS: Final = {"image-events": QUEUE, "image-events-dead": DEAD_LETTERS}
_STALE_DELETE_SHARE: Final = 0.5


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """
    A message in a queue.

    Attributes:
        message_id: Its id.
        body: Its body.
        sent_ms: When it was sent.
        attributes: Message attributes.
        visible_at_s: From when on it can be received.
        receives: How often it was received.
        receipt: Receipt handle of the last receive.
        about: The upload that it announces.
        is_duplicated: Whether it was received twice at once.
    """

    message_id: str
    body: str
    sent_ms: int
    attributes: dict[str, Any]
    visible_at_s: float
    receives: int = 0
    receipt: str = ""
    about: str | None = None
    is_duplicated: bool = False


@dataclass
class SimulatedQueue:
    """A queue: its messages by id, and the receives that wait for one."""

    messages: dict[str, QueuedMessage] = field(default_factory=dict)
    waiting: list[Request] = field(default_factory=list)


class SQS:
    """
    The queue and its dead-letter queue.

    Args:
        scheduler: Returns the time.
        chance: Decides the order of messages, and duplicates.
        network: Delivers the responses of long polls.
        max_receives: Receives after which a message is moved to the dead-letter queue.
        on_event: Called with what happened to a message: `deleted`, `dead letter`.
    """

    name = "sqs"

    def __init__(
        self,
        scheduler: Scheduler,
        chance: Chance,
        network: Network,
        *,
        max_receives: int,
        on_event: Callable[[str, QueuedMessage], None],
    ) -> None:
        self._scheduler, self._chance, self._network = scheduler, chance, network
        self._max_receives, self._on_event = max_receives, on_event
        self.queues = {QUEUE: SimulatedQueue(), DEAD_LETTERS: SimulatedQueue()}
        self.duplicate_share = 0.0
        self._numbers = count(1)

    @property
    def queue(self) -> SimulatedQueue:
        return self.queues[QUEUE]

    @property
    def dead_letters(self) -> SimulatedQueue:
        return self.queues[DEAD_LETTERS]

    def call(self, operation: str, parameters: Parameters, request: Request) -> Any:
        return getattr(self, f"_{operation}")(parameters, request)

    def send(
        self, url: str, body: str, attributes: dict[str, Any] | None = None, *, about: str | None = None
    ) -> QueuedMessage:
        """Add a message; `about` is the upload that it announces, for the invariants."""
        message = QueuedMessage(
            about=about,
            message_id=f"m{next(self._numbers)}",
            body=body,
            sent_ms=int(true_time(self._scheduler).timestamp() * 1000),
            attributes=attributes or {},
            visible_at_s=self._scheduler.now_s,
        )
        self.queues[url].messages[message.message_id] = message
        self._serve(url)
        return message

    # Operations.

    def _get_queue_url(self, parameters: Parameters, _request: Request) -> Any:
        return {"QueueUrl": _URLS[parameters["QueueName"]]}

    def _send_message(self, parameters: Parameters, _request: Request) -> Any:
        sent = self.send(
            parameters["QueueUrl"], parameters["MessageBody"], parameters.get("MessageAttributes")
        )
        return {"MessageId": sent.message_id}

    def _send_message_batch(self, parameters: Parameters, request: Request) -> Any:
        failed = self._failed(parameters, request)
        for entry in parameters["Entries"]:
            if entry["Id"] not in failed:
                self.send(parameters["QueueUrl"], entry["MessageBody"])
        return {"Failed": list(failed.values())}

    def _receive_message(self, parameters: Parameters, request: Request) -> Any:
        response = self._received(parameters)
        wait_s = parameters.get("WaitTimeSeconds", 0)
        if response["Messages"] or not wait_s:
            return response
        self.queues[parameters["QueueUrl"]].waiting.append(request)
        self._scheduler.after(wait_s, self._end_poll, parameters["QueueUrl"], request)
        raise Later

    def _delete_message_batch(self, parameters: Parameters, request: Request) -> Any:
        failed = self._failed(parameters, request)
        messages = self.queues[parameters["QueueUrl"]].messages
        for entry in parameters["Entries"]:
            if entry["Id"] in failed:
                continue
            message_id, _, _ = entry["ReceiptHandle"].partition("/")
            message = messages.get(message_id)
            if message is None:
                continue
            # With a handle that a later receive replaced, SQS succeeds, but may not delete the message.
            is_current = message.receipt == entry["ReceiptHandle"]
            if is_current or self._chance.happens(_STALE_DELETE_SHARE, "stale delete"):
                del messages[message_id]
                self._on_event("deleted", message)
        return {"Failed": list(failed.values())}

    def _change_message_visibility_batch(self, parameters: Parameters, request: Request) -> Any:
        failed = self._failed(parameters, request)
        url = parameters["QueueUrl"]
        for entry in parameters["Entries"]:
            if entry["Id"] in failed:
                continue
            message_id, _, _ = entry["ReceiptHandle"].partition("/")
            message = self.queues[url].messages.get(message_id)
            if message is None or message.receipt != entry["ReceiptHandle"]:
                failed[entry["Id"]] = _entry_error(entry["Id"], "ReceiptHandleIsInvalid", is_senders=True)
            elif message.visible_at_s <= self._scheduler.now_s:
                failed[entry["Id"]] = _entry_error(entry["Id"], "MessageNotInflight", is_senders=True)
            else:
                message.visible_at_s = self._scheduler.now_s + entry["VisibilityTimeout"]
                self._scheduler.at(message.visible_at_s, self._serve, url)
        return {"Failed": list(failed.values())}

    def _get_queue_attributes(self, parameters: Parameters, _request: Request) -> Any:
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(len(self.queues[parameters["QueueUrl"]].messages))
            }
        }

    # Their parts.

    def _failed(self, parameters: Parameters, request: Request) -> dict[str, Any]:
        if request.fault is not Fault.PARTIAL:
            return {}
        entries = parameters["Entries"]
        chosen = [entry["Id"] for entry in entries if self._chance.happens(0.5, "failed entry")]
        return {each: _entry_error(each, "InternalError", is_senders=False) for each in chosen}

    def _received(self, parameters: Parameters) -> dict[str, Any]:
        url, now_s = parameters["QueueUrl"], self._scheduler.now_s
        queue = self.queues[url]
        visible = [message for message in queue.messages.values() if message.visible_at_s <= now_s]
        wanted = parameters.get("MaxNumberOfMessages", 1)
        received: list[dict[str, Any]] = []
        while visible and len(received) < wanted:
            message = visible.pop(self._chance.index(len(visible), "order of messages"))
            if url == QUEUE and message.receives >= self._max_receives:
                del queue.messages[message.message_id]
                message.visible_at_s = now_s
                self.dead_letters.messages[message.message_id] = message
                self._on_event("dead letter", message)
                continue
            message.receives += 1
            message.receipt = f"{message.message_id}/{message.receives}"
            can_be_duplicated = not message.is_duplicated and self.duplicate_share > 0
            if can_be_duplicated and self._chance.happens(self.duplicate_share, "duplicated receive"):
                message.is_duplicated = True  # once: each receive is one of those that the message has
            else:
                message.visible_at_s = now_s + parameters["VisibilityTimeout"]
                self._scheduler.at(message.visible_at_s, self._serve, url)
            self._on_event("received", message)
            received.append(_as_received(message))
        return {"Messages": received}

    def _serve(self, url: str) -> None:
        """Respond to the long polls that wait, now that there may be a message."""
        queue = self.queues[url]
        while queue.waiting:
            request = queue.waiting[0]
            if not request.is_wanted:
                # SQS may not know yet that the caller has gone: the messages are then lost for a while.
                if self._chance.happens(0.5, "response to a closed poll"):
                    self._received(request.parameters)
                queue.waiting.pop(0)
                continue
            response = self._received(request.parameters)
            if not response["Messages"]:
                return
            queue.waiting.pop(0)
            self._network.respond(request, response)

    def _end_poll(self, url: str, request: Request) -> None:
        queue = self.queues[url]
        if request in queue.waiting:
            queue.waiting.remove(request)
            self._network.respond(request, {"Messages": []})


def _as_received(message: QueuedMessage) -> dict[str, Any]:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "Attributes": {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_ms),
        },
        "MessageAttributes": message.attributes,
    }


def _entry_error(entry_id: str, code: str, *, is_senders: bool) -> dict[str, Any]:
    return {"Id": entry_id, "Code": code, "SenderFault": is_senders}
