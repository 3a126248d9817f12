"""
Fault injection into the AWS calls of a worker or repair tool: crashes before or after a call, lost responses.

Calls are numbered in the order in which they are made. A worker that crashed is blocked forever in the call
at which it crashed; calls that its tasks still try while they are cancelled are blocked too, and never reach
AWS. After a lost response the worker continues.
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
from tests.support.histories import image_moves
from tests.support.user_profiles import profiles_of
from worker.bootstrap import RETRY_POLICIES, Clients, build_ledger, build_results, build_sources
from worker.delivery.consumer import Consumer
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.recipes import Recipes, UserRecipe
from worker.domain.clock import utc_now
from worker.domain.errors import WORKER_KILLED
from worker.domain.focus import Focus
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

ALLOWED_IMAGE_MOVES = {(start, leads_to) for starts, leads_to in IMAGE_MOVES.values() for start in starts}
ALLOWED_STEP_MOVES = {(start, leads_to) for starts, leads_to in STEP_MOVES.values() for start in starts}
LEASE_S = 60
RUN_TIMEOUT_S = 30.0
"""Limit for one worker and one message, after which the test fails; a worker needs far less."""


class FaultKind(StrEnum):
    """What a fault does to a call."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    RESPONSE_LOST = "response lost"


@dataclass(frozen=True, slots=True)
class Fault:
    """
    A fault of one call.

    Attributes:
        number: Number of the call, counted from 1 after the previous fault.
        kind: What happens to the call.
    """

    number: int
    kind: FaultKind


class FaultInjector:
    """
    Numbers the AWS calls of all workers that process one job, and injects faults into them.

    Args:
        faults: Faults in the order in which they occur.
    """

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._faults = list(faults)
        self.names: list[str] = []
        self.names_since_fault: list[str] = []
        self.current_worker: object = None
        self.crashed = asyncio.Event()
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def all_injected(self) -> bool:
        """Whether every fault has occurred."""
        return not self._faults

    def new_worker(self) -> object:
        """Return an identity for a new worker; calls of all workers before it are blocked from now on."""
        self.current_worker, self.crashed = object(), asyncio.Event()
        self.in_flight = 0
        self.idle.set()
        return self.current_worker

    async def call(self, worker: object, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make one call for a worker, or inject the fault of this call."""
        if worker is not self.current_worker or self.crashed.is_set():
            await _block_forever()
        self.names.append(name)
        self.names_since_fault.append(name)
        kind: FaultKind | None = None
        if self._faults and self._faults[0].number == len(self.names_since_fault):
            kind = self._faults.pop(0).kind
            self.names_since_fault = []
        if kind is FaultKind.CRASH_BEFORE:
            await self._crash()
        response, error = await self._send(call, reads_body=kind is not None)
        if kind is FaultKind.CRASH_AFTER:
            await self._crash()
        if kind is FaultKind.RESPONSE_LOST:
            raise ConnectionClosedError(endpoint_url=f"http://test/{name}")
        if error is not None:
            raise error
        return response

    async def _send(
        self, call: Callable[[], Awaitable[Any]], *, reads_body: bool
    ) -> tuple[Any, ClientError | None]:
        """Make the call; return its response or its error."""
        self.in_flight += 1
        self.idle.clear()
        try:
            response = await call()
            if reads_body and "Body" in response:
                async with response["Body"]:
                    pass
        except ClientError as error:
            return None, error
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
        return response, None

    async def _crash(self) -> NoReturn:
        self.crashed.set()
        await _block_forever()


async def _block_forever() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    message = "the future is never completed, only cancelled"
    raise AssertionError(message)


class InterceptedClient:
    """An AWS client that makes every call of one worker through a `FaultInjector`."""

    def __init__(self, client: object, injector: FaultInjector, worker: object) -> None:
        self._client, self._injector, self._worker = client, injector, worker

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._client, name)

        async def call(**request: Any) -> Any:
            return await self._injector.call(self._worker, name, partial(method, **request))

        return call


def clients_of_new_worker(aws: "Aws", injector: FaultInjector) -> Clients:
    """Return the intercepted clients of a new worker."""
    worker = injector.new_worker()
    sqs: Any = InterceptedClient(aws.sqs, injector, worker)
    s3: Any = InterceptedClient(aws.s3, injector, worker)
    dynamodb: Any = InterceptedClient(aws.dynamodb, injector, worker)
    return Clients(s3=s3, sqs=sqs, polling=sqs, dynamodb=dynamodb)


async def run_until_done_or_crashed(injector: FaultInjector, work: Coroutine[Any, Any, None]) -> None:
    """Run the work of the newest worker until it returns or the worker crashes."""
    tasks_before = asyncio.all_tasks()
    work_task = asyncio.create_task(work)
    crash_task = asyncio.create_task(injector.crashed.wait())
    async with asyncio.timeout(RUN_TIMEOUT_S):
        await asyncio.wait({work_task, crash_task}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if not injector.crashed.is_set():
                work_task.result()
        finally:
            injector.crashed.set()
            await _cancel_tasks_except(tasks_before)


class StepwisePool:
    """
    A decoder pool that reports a step only when the step before it is recorded, so that calls have one order.

    Args:
        injector: Knows whether a call is in flight.
        error: Raised at the second step.
        beat: Awaited before the second step.
    """

    def __init__(
        self,
        injector: FaultInjector,
        *,
        error: Exception | None,
        beat: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._injector, self._error, self._beat = injector, error, beat

    async def run(
        self,
        content: bytes | bytearray | memoryview,
        recipe: Recipe,
        *,
        user_id: str,
        focus: Focus | None = None,
    ) -> AsyncGenerator[DecoderOutput, None]:
        assert content, "the pool received an empty upload"
        for step in StepName:
            await self._wait_for_writes()
            if step is StepName.RESIZE and self._beat is not None:
                await self._beat()
            if step is StepName.RESIZE and self._error is not None:
                raise self._error
            yield a_report(step)
        await self._wait_for_writes()
        for size in recipe.sizes:
            yield EncodedRendition(
                size=size.name,
                width=800,
                height=450,
                format="jpeg",
                content=result_of(bytes(content), size.name),
            )

    async def _wait_for_writes(self) -> None:
        """Give the step writer time to start its call, and wait until no call is in flight."""
        for _ in range(10):
            await asyncio.sleep(0)
            await self._injector.idle.wait()


def result_of(content: bytes, size: str) -> bytes:
    """Return the rendition that the pool makes of an upload: a JPEG marker, the size and the upload."""
    return b"\xff\xd8\xff\xdb" + f"{size} of ".encode() + content


def is_result_of(stored: bytes, content: bytes, size: str) -> bool:
    """Return whether a stored object is the pool's rendition, apart from the nonce that each result gets."""
    result = result_of(content, size)
    return stored[:2] == result[:2] and stored.endswith(result[2:])


@dataclass(frozen=True, slots=True)
class Aws:
    """Clients that are not intercepted, and the resources of the test."""

    settings: Settings
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    url: str
    dead_letter_url: str


class Clock:
    """A clock that a test can move ahead of the true time."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def expire_leases(self) -> None:
        """Move the clock past the end of every lease."""
        self.ahead += timedelta(seconds=LEASE_S + 1)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """
    How the workers of a case behave.

    Attributes:
        error: Raised by the pool at the second step.
        max_receives: Maximum receives of a message.
        recipe: Recipe of every image.
        has_heartbeat: Whether the message and the lease are renewed before the second step.
    """

    error: Exception | None = None
    max_receives: int = 1000
    recipe: Recipe = field(default_factory=a_recipe)
    has_heartbeat: bool = False


class WorkerSequence:
    """
    Runs one worker after another, each for one message, until the queue is empty.

    Args:
        aws: Clients and resources.
        injector: Injects the faults.
        options: How the workers behave.
    """

    def __init__(self, aws: Aws, injector: FaultInjector, options: WorkerOptions) -> None:
        self._aws, self._injector, self._options = aws, injector, options
        self.clock = Clock()
        self.count = 0

    async def run_until_queue_is_empty(self, *, first_within_s: int = 0) -> None:
        """
        Run workers until no message is received; at most ten.

        Args:
            first_within_s: How long to wait for the first message.
        """
        received = await receive(self._aws, within_s=first_within_s)
        while received is not None:
            self.count += 1
            assert self.count <= 10, f"the queue is not empty after {self._injector.names}"
            await self._run_worker(received)
            self.clock.expire_leases()
            await make_visible(self._aws, received)
            received = await receive(self._aws)

    async def _run_worker(self, received: dict[str, Any]) -> None:
        """Process the message by a new worker, until it is done or crashes."""
        consumer, queue, ledger = self._worker(clients_of_new_worker(self._aws, self._injector))
        message = Message(
            message_id=received["MessageId"],
            receipt_handle=received["ReceiptHandle"],
            body=received["Body"],
            receive_count=int(received["Attributes"]["ApproximateReceiveCount"]),
            sent_at=utc_now(),
        )

        async def process() -> None:
            await consumer.process(message)
            await queue.close()
            await ledger.close()

        await run_until_done_or_crashed(self._injector, process())

    def _worker(self, clients: Clients) -> tuple[Consumer, Queue, DynamoLedger]:
        settings, options = self._aws.settings, self._options
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
            upload_keys=settings.upload_keys,
            processed_prefix=settings.processed_prefix,
        )
        handler = MessageHandler(
            parse=lambda message: parse(message, key_layout),
            queue=queue,
            ledger=ledger,
            recipes=Recipes(
                profiles_of(clients.dynamodb, settings),
                lambda _: UserRecipe(options.recipe),
                FakeLogos().fill,
            ),
            sources=build_sources(clients.s3),
            pool=StepwisePool(
                self._injector,
                error=options.error,
                beat=heartbeat.beat if options.has_heartbeat else None,
            ),
            results=build_results(clients.s3, settings),
            observer=an_observer(),
            clock=self.clock,
            config=DeliveryConfig(
                worker_id=f"worker-{self.count}",
                lease_s=LEASE_S,
                max_receives=options.max_receives,
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


async def _cancel_tasks_except(kept: set[asyncio.Task[Any]]) -> None:
    """Cancel all other tasks, again and again until they have ended."""
    while remaining := asyncio.all_tasks() - kept:
        for task in remaining:
            task.cancel()
        ended, _ = await asyncio.wait(remaining, timeout=0.001)
        for task in ended:
            if not task.cancelled():
                task.exception()  # marks it as retrieved: errors of a crashed worker do not matter


async def receive(aws: Aws, *, within_s: int = 0) -> dict[str, Any] | None:
    """Receive one message, waiting up to so many seconds; None if there is none."""
    response = await aws.sqs.receive_message(
        QueueUrl=aws.url,
        VisibilityTimeout=LEASE_S,
        WaitTimeSeconds=within_s,
        MessageSystemAttributeNames=["ApproximateReceiveCount"],
    )
    messages: list[Any] = response.get("Messages", [])
    return messages[0] if messages else None


async def make_visible(aws: Aws, received: dict[str, Any]) -> None:
    """Make a message visible again as if its visibility timeout had passed, if it still exists."""
    await aws.sqs.change_message_visibility_batch(
        QueueUrl=aws.url,
        Entries=[{"Id": "0", "ReceiptHandle": received["ReceiptHandle"], "VisibilityTimeout": 0}],
    )


def check_history(image: Image) -> None:
    """Assert that the history of an image contains only moves that the status tables allow."""
    image_statuses = [entry.status for entry in image.history if entry.step is None]
    assert image_statuses[0] == ImageStatus.PENDING
    assert image_statuses[-1] == image.status
    assert image_moves(image.history) <= ALLOWED_IMAGE_MOVES
    attempts = [entry.attempt for entry in image.history]
    assert attempts == sorted(attempts)
    assert image.attempt == attempts[-1]
    assert [entry.at for entry in image.history] == sorted(entry.at for entry in image.history)
    assert image.lease is None
    for attempt in set(attempts):
        for step in image.steps:
            entries = [entry for entry in image.history if entry.step is step and entry.attempt == attempt]
            # An attempt that gives up an image ends the step in which the worker before it was killed.
            gives_up = bool(entries) and entries[0].detail.get("code") == WORKER_KILLED
            before = StepStatus.PROCESSING if gives_up else StepStatus.PENDING
            step_statuses = [before, *(StepStatus(entry.status) for entry in entries)]
            assert set(pairwise(step_statuses)) <= ALLOWED_STEP_MOVES
