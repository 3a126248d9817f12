"""
One chaos run: images are uploaded while workers are killed and suspended behind a faulty AWS.

The seed determines the uploads, which worker is killed or suspended and when, and which request gets which
fault. The timing of the processes is not controlled, so that no two runs are equal.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.actors import LEASE_S, Duplicator, ProcessKiller, Uploader
from tests.chaos.consumer import EventConsumer
from tests.chaos.hostile import (
    REJECTED_READS,
    hostile_messages,
    hostile_uploads,
    send_messages,
    store_preferences,
)
from tests.chaos.uploads import MAX_PIXELS, PlannedImage, plan
from tests.chaos.verification import BrokenPromise, Findings, Store, verify
from tests.chaos.witness import Witness
from tests.chaos.workers import STARTED, Workers, wait_until, worker_processes
from tests.support.emulators import client, messages_in, stack_name_of, unique_settings
from tests.support.fault_proxy import WEIGHTS, ProxyFault, fault_proxy
from worker.bootstrap import deploy_storage, queue_url
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES

_STALL_S: Final = LEASE_S + 2.0
"""Delay of a stalled request: long enough for another worker to take over the image."""

_MAX_RECEIVES_WITH_KILLERS: Final = 20
_MESSAGE_PAUSE_S: Final = 0.2

_CHAOS_SHARE: Final = 0.97
"""Share of images after whose end no worker is killed any more, so that the rest ends soon."""

_EVENTS_TIMEOUT_S: Final = 120.0
"""How long the consumer of events may take for the last of them, and to start for that."""

_ERROR_EVENTS: Final = ("delivery.crashed", "image.attempt_crashed", "Traceback")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosOptions:
    """
    Options of a chaos run.

    Attributes:
        seed: Seed of all random choices.
        uploads: Number of uploads, replacements included.
        workers: Number of worker processes.
        backlog: Maximum number of images that have not ended; further ones are uploaded as these end.
        pause_s: Minimum and maximum pause between two kills or suspensions.
        duplicates: Share of the messages that are sent a second time.
        hostile: Share of the uploads that are hostile; as many hostile messages are sent.
        patience_s: How long the last images may take after the kills have stopped.
        longest_s: How long the run may take per upload until then.
    """

    seed: int
    uploads: int = 1200
    workers: int = 4
    backlog: int = 60
    pause_s: tuple[float, float] = (0.5, 2.5)
    duplicates: float = 0.05
    hostile: float = 0.0
    final_timeout_s: float = 180.0
    max_s_per_upload: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # asyncio.run would print gigabytes
class ChaosResult:
    """Everything that a run measured."""

    options: ChaosOptions
    planned_images: Sequence[PlannedImage]
    found: Findings
    broken: Sequence[BrokenPromise]
    witness: Witness
    faults: Counter[ProxyFault]
    forwarded: int
    kills: int
    suspensions: int
    killed_by_images: int
    failed_starts: int
    consumer: EventConsumer
    duplicates: int
    logged: Mapping[str, int]
    duration_s: float
    logs: Sequence[Path]


async def run(options: ChaosOptions, *, endpoint_url: str, folder: Path) -> ChaosResult:
    """
    Run once, on newly created resources.

    Args:
        options: Options of the run.
        endpoint_url: Endpoint of an emulated AWS.
        folder: Folder for the workers' logs.
    """
    hostile = round(options.uploads * options.hostile)
    planned_images = plan(_rng(options, "uploads"), uploads=options.uploads - hostile)
    planned_images += hostile_uploads(_rng(options, "hostile"), hostile)
    messages = hostile_messages(hostile)
    _rng(options, "order").shuffle(planned_images)
    # An image that kills its workers does so until its receives are used up.
    max_receives = _MAX_RECEIVES_WITH_KILLERS if hostile else 100
    settings = unique_settings(
        endpoint_url,
        visibility_timeout_s=LEASE_S,
        max_receives=max_receives,
        events=True,
    )
    async with AsyncExitStack() as stack:
        s3, sqs, dynamodb, cloudformation = [
            await stack.enter_async_context(client(service, settings))
            for service in ("s3", "sqs", "dynamodb", "cloudformation")
        ]
        await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        store = Store(settings, s3, sqs, dynamodb)
        await store_preferences(dynamodb, settings)
        uploader = Uploader(store, planned_images, options.backlog)
        duplicator = Duplicator(
            sqs, await queue_url(sqs, settings.queue_name), _rng(options, "repeats"), options.duplicates
        )
        witness = Witness(
            on_claim=uploader.on_claim, on_end=uploader.on_end, on_message=duplicator.on_message
        )
        uploader.witness = witness
        proxy = await stack.enter_async_context(fault_proxy(endpoint_url, seed=options.seed))
        proxy.witness, proxy.stall_s = witness, _STALL_S
        proxy.rejected_reads = REJECTED_READS
        proxy.weights = {**WEIGHTS, ProxyFault.STALLED: 0.01, ProxyFault.HALTED: 0.01}
        workers = await stack.enter_async_context(
            worker_processes(
                settings,
                folder,
                endpoint_url=proxy.endpoint_url,
                WORKER_CONCURRENCY="6",
                WORKER_MAX_PIXELS=str(MAX_PIXELS),
                WORKER_EVENTS="true",
            )
        )
        consumer = EventConsumer(folder, workers.environment, _rng(options, "consumer"))
        for slot in range(options.workers):
            await workers.start(slot)
        await wait_until(
            lambda: all(worker.has_started for worker in workers.current.values()), within_s=60, what=STARTED
        )
        proxy.is_injecting_faults = True
        began = time.monotonic()
        killer = ProcessKiller(workers, _rng(options, "workers"), options.pause_s)
        intruder = asyncio.create_task(
            send_messages(sqs, duplicator.url, messages, pause_s=_MESSAGE_PAUSE_S), name="intruder"
        )
        late = await _run_until_ended(store, uploader, duplicator, killer, consumer, options)
        await intruder
        duration_s = time.monotonic() - began
        proxy.is_injecting_faults = False  # otherwise a worker that is starting may not finish
        broken = [*late, *await _shut_down(workers)]
        found = await verify(store, planned_images, witness, hostile_messages=messages)
        broken += await consumer.receive_all(found.images, within_s=_EVENTS_TIMEOUT_S)
    logs = [worker.log for worker in workers.all]
    logged = _count_events(logs)
    broken += [
        BrokenPromise(f"the logs contain {word!r} {logged[word]} times")
        for word in _ERROR_EVENTS
        if logged[word]
    ]
    return ChaosResult(
        options=options,
        planned_images=planned_images,
        found=found,
        broken=[*broken, *found.broken],
        witness=witness,
        faults=proxy.met,
        forwarded=proxy.forwarded,
        kills=killer.kills,
        suspensions=killer.suspensions,
        killed_by_images=workers.killed_by_images,
        failed_starts=workers.failed_starts,
        consumer=consumer,
        duplicates=duplicator.sent,
        logged=logged,
        duration_s=duration_s,
        logs=logs,
    )


def _rng(options: ChaosOptions, what: str) -> random.Random:
    return random.Random(f"{options.seed} {what}")


async def _run_until_ended(
    store: Store,
    uploader: Uploader,
    duplicator: Duplicator,
    killer: ProcessKiller,
    consumer: EventConsumer,
    options: ChaosOptions,
) -> list[BrokenPromise]:
    """Run all actors until every upload has ended and no message is left."""
    side_tasks = [
        asyncio.create_task(run(), name=name)
        for name, run in (
            ("kill workers", killer.run),
            ("repeat messages", duplicator.repeat),
            ("consume events", consumer.run),
        )
    ]
    uploads = asyncio.gather(uploader.upload(), uploader.replace())
    try:
        async with asyncio.timeout(options.uploads * options.max_s_per_upload):
            running: set[asyncio.Future[Any]] = {uploads, *side_tasks}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in side_tasks:
                if task.done():
                    task.result()
            await uploads
        enough = round(_CHAOS_SHARE * len(uploader.planned_images))
        await wait_until(
            lambda: len(uploader.witness.ended) >= enough,
            within_s=options.final_timeout_s,
            what="nearly all images ended",
        )
        await _cancel(side_tasks)
        await _wait_until_ended(store, uploader.planned_images, within_s=options.final_timeout_s)
    except TimeoutError as error:
        return [BrokenPromise(f"not all uploads ended in time ({error})")]
    finally:
        uploads.cancel()
        await _cancel(side_tasks)
    return []


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def _wait_until_ended(store: Store, planned_images: Sequence[PlannedImage], *, within_s: float) -> None:
    """Wait until every record has the final status of its newest upload and the queue is empty."""
    left = list(planned_images)
    waiting = 0
    try:
        async with asyncio.timeout(within_s):
            while left or waiting:
                images = await store.images(left)
                left = [planned for planned in left if not _has_ended(planned, images)]
                waiting = await messages_in(store.sqs, store.settings.queue_name)
                await asyncio.sleep(0.5 if left or waiting else 0)  # leaves the emulator's CPU to the workers
    except TimeoutError:
        names = ", ".join(planned.image_id for planned in left[:10])
        message = f"{len(left)} images have not ended: {names}; {waiting} messages in the queue"
        raise TimeoutError(message) from None


def _has_ended(planned: PlannedImage, images: Mapping[str, Image]) -> bool:
    image = images.get(planned.image_id)
    return (
        image is not None
        and image.status in TERMINAL_STATUSES
        and image.version.e_tag == planned.newest.e_tag
    )


async def _shut_down(workers: Workers) -> list[BrokenPromise]:
    """Drain the workers, and check that no process of theirs is left."""
    await wait_until(
        lambda: all(worker.has_started for worker in workers.current.values()), within_s=60, what=STARTED
    )
    broken = [BrokenPromise(f"a worker died without being killed: {log.name}") for log in workers.died]
    try:
        statuses = await workers.drain()
    except TimeoutError:
        return [*broken, BrokenPromise("a worker did not drain in time")]
    if any(statuses):
        broken.append(BrokenPromise(f"workers drained with exit statuses {statuses}"))
    try:
        await wait_until(lambda: not workers.decoders_left(), within_s=15, what="decoders gone")
    except TimeoutError:
        broken.append(BrokenPromise(f"decoders outlived their workers: {workers.decoders_left()}"))
    return broken


def _count_events(logs: Sequence[Path]) -> Counter[str]:
    """Count log lines by event, and those of images that ended also by code."""
    counts: Counter[str] = Counter()
    for log in logs:
        text = log.read_text(errors="replace")
        for line in text.splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue  # cut off when the worker was killed
            counts[fields["event"]] += 1
            if "code" in fields:
                counts[f"{fields['event']} {fields['code']}"] += 1
        counts["Traceback"] += text.count("Traceback")
    return counts
