"""
Dying at every call: a worker whose AWS calls are numbered, and that dies at whichever it is told to.

A fault strikes one call of a job, in one of three ways: the worker dies before it, it dies after the call has
landed, or the call lands and its answer is lost, after which the worker goes on. A dead worker stands still
in the call at which it died. It makes no further call: whatever its tasks still try while they are cancelled
stands still here too, and never reaches AWS. The same is done to the repair tools.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from botocore.exceptions import ClientError, ConnectionClosedError

from tests.support.builders import a_recipe, a_report, an_observer
from tests.support.fakes.ports import FakeLogos
from tests.support.user_profiles import profiles_of
from worker.bootstrap import RETRY_POLICIES, Clients, build_ledger, build_results, build_sources
from worker.delivery.consumer import Consumer
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.recipes import Recipes
from worker.domain.clock import utc_now
from worker.domain.image import Image
from worker.domain.message import Message
from worker.domain.recipe import Recipe
from worker.domain.status import IMAGE_MOVES, STEP_MOVES, ImageStatus, StepName, StepStatus
from worker.domain.step import DecoderOutput, EncodedRendition
from worker.dynamodb.ledger import DynamoLedger
from worker.settings import Settings
from worker.sqs.events import KeyLayout, parse
from worker.sqs.heartbeat import Heartbeat
from worker.sqs.queue import Queue

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

LEGAL_IMAGE = {(start, leads_to) for starts, leads_to in IMAGE_MOVES.values() for start in starts}
LEGAL_STEP = {(start, leads_to) for starts, leads_to in STEP_MOVES.values() for start in starts}
LEASE_S = 60
LIFE_S = 30.0
"""How long one worker may take over one message before the test fails: far longer than it ever does."""


class Kind(StrEnum):
    """How a fault strikes a call."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    ANSWER_LOST = "answer lost"


@dataclass(frozen=True, slots=True)
class Fault:
    """Strikes the call of this number, counted from the fault before it."""

    number: int
    kind: Kind


class Calls:
    """
    Numbers the calls of one job, over all the workers that it takes, and strikes those that it is told to.

    Args:
        faults: One after the other.
    """

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._faults = list(faults)
        self.names: list[str] = []
        self.since_fault: list[str] = []
        self.alive: object = None
        self.died = asyncio.Event()
        self.in_flight = 0
        self.quiet = asyncio.Event()
        self.quiet.set()

    @property
    def all_struck(self) -> bool:
        """Tell whether every fault has struck."""
        return not self._faults

    def new_life(self) -> object:
        """Let a new worker live; what is left of those before it can make no more calls."""
        self.alive, self.died = object(), asyncio.Event()
        self.in_flight = 0
        self.quiet.set()
        return self.alive

    async def make(self, life: object, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make one call for a worker, or let its fault strike."""
        if life is not self.alive or self.died.is_set():
            await _stand_still()
        self.names.append(name)
        self.since_fault.append(name)
        kind: Kind | None = None
        if self._faults and self._faults[0].number == len(self.since_fault):
            kind = self._faults.pop(0).kind
            self.since_fault = []
        if kind is Kind.DIES_BEFORE:
            await self._die()
        answer, refusal = await self._ask(call, reads_body=kind is not None)
        if kind is Kind.DIES_AFTER:
            await self._die()
        if kind is Kind.ANSWER_LOST:
            raise ConnectionClosedError(endpoint_url=f"http://test/{name}")
        if refusal is not None:
            raise refusal
        return answer

    async def _ask(
        self, call: Callable[[], Awaitable[Any]], *, reads_body: bool
    ) -> tuple[Any, ClientError | None]:
        """Make the call; return its answer or what it was refused with."""
        self.in_flight += 1
        self.quiet.clear()
        try:
            answer = await call()
            if reads_body and "Body" in answer:
                async with answer["Body"]:
                    pass
        except ClientError as refusal:
            return None, refusal
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.quiet.set()
        return answer, None

    async def _die(self) -> NoReturn:
        self.died.set()
        await _stand_still()


async def _stand_still() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    message = "nobody ends this but by cancelling it"
    raise AssertionError(message)


class Tapped:
    """A client all of whose calls go through `Calls`, in the name of one worker."""

    def __init__(self, client: object, calls: Calls, life: object) -> None:
        self._client, self._calls, self._life = client, calls, life

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._client, name)

        async def call(**request: Any) -> Any:
            return await self._calls.make(self._life, name, partial(method, **request))

        return call


def tapped(aws: "Aws", calls: Calls) -> Clients:
    """Let a new worker live; return the clients that it makes its calls with."""
    life = calls.new_life()
    sqs: Any = Tapped(aws.sqs, calls, life)
    s3: Any = Tapped(aws.s3, calls, life)
    dynamodb: Any = Tapped(aws.dynamodb, calls, life)
    return Clients(s3=s3, sqs=sqs, polling=sqs, dynamodb=dynamodb)


async def live(calls: Calls, work: Coroutine[Any, Any, None]) -> None:
    """Let the worker that was tapped last work to the end of its work, or to its own."""
    before = asyncio.all_tasks()
    working = asyncio.create_task(work)
    dying = asyncio.create_task(calls.died.wait())
    async with asyncio.timeout(LIFE_S):
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not calls.died.is_set():
                working.result()
        finally:
            calls.died.set()
            await _bury(before)


class StepwisePool:
    """
    Reports each step once the record has been told of the one before, so that calls come in one order.

    Args:
        calls: Of the worker.
        error: Raised at the second step.
        beat: Awaited before the second step.
    """

    def __init__(
        self, calls: Calls, *, error: Exception | None, beat: Callable[[], Awaitable[None]] | None
    ) -> None:
        self._calls, self._error, self._beat = calls, error, beat

    async def run(self, content: object, recipe: Recipe) -> AsyncGenerator[DecoderOutput, None]:
        assert content, "an empty picture was handed to the pool"
        for step in StepName:
            await self._recorded()
            if step is StepName.RESIZE and self._beat is not None:
                await self._beat()
            if step is StepName.RESIZE and self._error is not None:
                raise self._error
            yield a_report(step)
        await self._recorded()
        for size in recipe.sizes:
            yield EncodedRendition(
                size=size.name,
                width=800,
                height=450,
                format="jpeg",
                content=result_of(bytes(content), size.name),  # type: ignore[call-overload]
            )

    async def _recorded(self) -> None:
        """Let the writer that was just woken make its call, and wait until none is in flight."""
        for _ in range(10):
            await asyncio.sleep(0)
            await self._calls.quiet.wait()


def result_of(content: bytes, size: str) -> bytes:
    """Return what the pool makes of a picture: the beginning of a JPEG, and what tells it from others."""
    return b"\xff\xd8\xff\xdb" + f"{size} of ".encode() + content


def is_result_of(stored: bytes, content: bytes, size: str) -> bool:
    """Tell whether it is what the pool made, but for the mark that each result gets."""
    result = result_of(content, size)
    return stored[:2] == result[:2] and stored.endswith(result[2:])


@dataclass(frozen=True, slots=True)
class Aws:
    """The untapped clients, and where things lie."""

    settings: Settings
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    url: str
    dead_letter_url: str


class Clock:
    """The true time, and as much later as the test has let pass."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def pass_lease(self) -> None:
        """Let every lease end."""
        self.ahead += timedelta(seconds=LEASE_S + 1)


@dataclass(frozen=True, slots=True)
class Conduct:
    """
    How the workers of a case behave.

    Attributes:
        error: What the pool raises at the second step.
        max_receives: Tries of a message.
        recipe: What they make of a picture.
        has_heartbeat: Whether the message and the lease are renewed before the second step.
    """

    error: Exception | None = None
    max_receives: int = 1000
    recipe: Recipe = field(default_factory=a_recipe)
    has_heartbeat: bool = False


class Lives:
    """
    One worker after another, until nothing is left in the queue.

    Args:
        aws: Where the messages wait.
        calls: Numbers what they do.
        conduct: How they do it.
    """

    def __init__(self, aws: Aws, calls: Calls, conduct: Conduct) -> None:
        self._aws, self._calls, self._conduct = aws, calls, conduct
        self.clock = Clock()
        self.count = 0

    async def until_the_queue_is_empty(self, *, first_within_s: int = 0) -> None:
        """Let workers live until no message comes any more; ten must be enough."""
        received = await receive(self._aws, within_s=first_within_s)
        while received is not None:
            self.count += 1
            assert self.count <= 10, f"a message is still there after {self._calls.names}"
            await self._live(received)
            self.clock.pass_lease()
            await make_visible(self._aws, received)
            received = await receive(self._aws)

    async def _live(self, received: dict[str, Any]) -> None:
        """Let one worker handle the message to its end, or to its own."""
        consumer, queue, ledger = self._worker(tapped(self._aws, self._calls))
        message = Message(
            message_id=received["MessageId"],
            receipt_handle=received["ReceiptHandle"],
            body=received["Body"],
            receive_count=int(received["Attributes"]["ApproximateReceiveCount"]),
            sent_at=utc_now(),
        )

        async def handle() -> None:
            await consumer.process(message)
            await queue.close()
            await ledger.close()

        await live(self._calls, handle())

    def _worker(self, clients: Clients) -> tuple[Consumer, Queue, DynamoLedger]:
        settings, conduct = self._aws.settings, self._conduct
        queue = Queue(
            clients.sqs,
            clients.polling,
            url=self._aws.url,
            dead_letter_url=self._aws.dead_letter_url,
            wait_time_s=0,
            visibility_timeout_s=LEASE_S,
            retry=RETRY_POLICIES.queue,
            linger_s=0,
        )
        heartbeat = Heartbeat(queue, visibility_timeout_s=LEASE_S, clock=self.clock)
        ledger = build_ledger(clients.dynamodb, settings)
        key_layout = KeyLayout(
            bucket=settings.bucket,
            uploads_prefix=settings.uploads_prefix,
            processed_prefix=settings.processed_prefix,
        )
        handler = MessageHandler(
            parse=lambda message: parse(message, key_layout),
            queue=queue,
            ledger=ledger,
            recipes=Recipes(
                profiles_of(clients.dynamodb, settings),
                lambda _: conduct.recipe,
                FakeLogos().fill,
            ),
            sources=build_sources(clients.s3),
            pool=StepwisePool(
                self._calls, error=conduct.error, beat=heartbeat.beat if conduct.has_heartbeat else None
            ),
            results=build_results(clients.s3, settings),
            observer=an_observer(),
            clock=self.clock,
            config=DeliveryConfig(
                worker_id=f"life-{self.count}",
                lease_s=LEASE_S,
                max_receives=conduct.max_receives,
                max_bytes=settings.max_bytes,
                record_delay_s=0,
            ),
        )
        consumer = Consumer(
            queue=queue,
            heartbeat=heartbeat,
            handle=handler.handle,
            slots=1,
            drain_timeout_s=0,
        )
        return consumer, queue, ledger


async def _bury(others: set[asyncio.Task[Any]]) -> None:
    """Cancel what is left of a worker until nothing is: all tasks but the others."""
    while left := asyncio.all_tasks() - others:
        for task in left:
            task.cancel()
        ended, _ = await asyncio.wait(left, timeout=0.001)
        for task in ended:
            if not task.cancelled():
                task.exception()  # nobody asks the dead how they ended


async def receive(aws: Aws, *, within_s: int = 0) -> dict[str, Any] | None:
    """Take the message if it is there, or comes in so many seconds."""
    answer = await aws.sqs.receive_message(
        QueueUrl=aws.url,
        VisibilityTimeout=LEASE_S,
        WaitTimeSeconds=within_s,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    messages: list[Any] = answer.get("Messages", [])
    return messages[0] if messages else None


async def make_visible(aws: Aws, received: dict[str, Any]) -> None:
    """Let the visibility timeout of a message pass, if it is still there."""
    await aws.sqs.change_message_visibility_batch(
        QueueUrl=aws.url,
        Entries=[{"Id": "0", "ReceiptHandle": received["ReceiptHandle"], "VisibilityTimeout": 0}],
    )


def check_history(image: Image) -> None:
    """Raise unless the audit trail is one that the table of moves allows."""
    of_image = [ImageStatus(entry.status) for entry in image.history if entry.step is None]
    assert of_image[0] is ImageStatus.PENDING
    assert of_image[-1] is image.status
    assert set(pairwise(of_image)) <= LEGAL_IMAGE
    attempts = [entry.attempt for entry in image.history]
    assert attempts == sorted(attempts)
    assert image.attempt == attempts[-1]
    assert [entry.at for entry in image.history] == sorted(entry.at for entry in image.history)
    assert image.lease is None
    for attempt in set(attempts):
        for step in image.steps:
            of_step = [
                StepStatus(entry.status)
                for entry in image.history
                if entry.step is step and entry.attempt == attempt
            ]
            assert set(pairwise([StepStatus.PENDING, *of_step])) <= LEGAL_STEP
