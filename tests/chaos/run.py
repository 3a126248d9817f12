"""
One run of the chaos: uploads go in through bursts, workers are killed and suspended, their AWS makes trouble.

What is drawn from the seed: the uploads, which worker meets what and when, which request meets which trouble.
What the processes do in the time between is theirs, so that no two runs are equal.
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
from typing import Final

from tests.chaos.actors import LEASE_S, Harassing, Repeating, Uploading
from tests.chaos.promises import Broken, Findings, Store, findings
from tests.chaos.uploads import MOST_PIXELS, Picture, plan
from tests.chaos.witness import Witness
from tests.chaos.workers import STARTED, Workers, until, workers_of
from tests.support.emulators import client, messages_in, stack_name_of, unique_settings
from tests.support.fault_proxy import WEIGHTS, Trouble, fault_proxy
from worker.bootstrap import deploy_storage, queue_url
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES

_STALL_S: Final = LEASE_S + 2.0
"""A stalled write arrives when another worker may have taken its image."""

_CHAOS_UNTIL: Final = 0.97
"""Share of the pictures after whose end nobody is killed any more, so that the rest ends soon."""

_OWN_WORDS: Final = ("delivery.crashed", "image.attempt_crashed", "Traceback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    How much of everything.

    Attributes:
        seed: From which everything is drawn.
        uploads: Objects put, replacements included.
        workers: Processes.
        backlog: Pictures under way at the most: more are put as others end.
        pause_s: Between two kills or stops, from and to.
        duplicates: Share of the messages that come a second time.
        patience_s: How long, when the chaos is over, the last pictures may take.
        longest_s: How long the chaos itself may take, for each upload.
    """

    seed: int
    uploads: int = 1200
    workers: int = 4
    backlog: int = 60
    pause_s: tuple[float, float] = (0.5, 2.5)
    duplicates: float = 0.05
    patience_s: float = 180.0
    longest_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # asyncio.run asks for it: gigabytes
class Outcome:
    """All that a run tells."""

    terms: Terms
    pictures: Sequence[Picture]
    found: Findings
    broken: Sequence[Broken]
    witness: Witness
    troubles: Mapping[Trouble, int]
    forwarded: int
    kills: int
    stops: int
    failed_starts: int
    duplicates: int
    logged: Mapping[str, int]
    duration_s: float
    logs: Sequence[Path]


async def run(terms: Terms, *, endpoint_url: str, folder: Path) -> Outcome:
    """
    Run once, on resources of its own.

    Args:
        terms: How much of everything.
        endpoint_url: An AWS that is shared with nobody who minds.
        folder: For the workers' logs.
    """
    pictures = plan(_dice(terms, "uploads"), uploads=terms.uploads)
    settings = unique_settings(endpoint_url, visibility_timeout_s=LEASE_S, max_receives=100)
    async with AsyncExitStack() as stack:
        s3, sqs, dynamodb, cloudformation = [
            await stack.enter_async_context(client(service, settings))
            for service in ("s3", "sqs", "dynamodb", "cloudformation")
        ]
        await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        store = Store(settings, s3, sqs, dynamodb)
        uploading = Uploading(store, pictures, terms.backlog)
        repeating = Repeating(
            sqs, await queue_url(sqs, settings.queue_name), _dice(terms, "repeats"), terms.duplicates
        )
        witness = Witness(
            on_claim=uploading.saw_claim, on_end=uploading.saw_end, on_message=repeating.saw_message
        )
        uploading.witness = witness
        proxy = await stack.enter_async_context(fault_proxy(endpoint_url, seed=terms.seed))
        proxy.witness, proxy.stall_s = witness, _STALL_S
        proxy.weights = {**WEIGHTS, Trouble.STALLED: 0.01, Trouble.HALTED: 0.01}
        workers = await stack.enter_async_context(
            workers_of(
                settings,
                folder,
                endpoint_url=proxy.endpoint_url,
                WORKER_CONCURRENCY="6",
                WORKER_MAX_PIXELS=str(MOST_PIXELS),
            )
        )
        for place in range(terms.workers):
            await workers.start(place)
        await until(lambda: all(one.has_started for one in workers.here.values()), within_s=60, what=STARTED)
        proxy.is_making_trouble = True
        began = time.monotonic()
        harassing = Harassing(workers, _dice(terms, "workers"), terms.pause_s)
        in_time = await _live(store, uploading, repeating, harassing, terms)
        duration_s = time.monotonic() - began
        proxy.is_making_trouble = False  # else a worker that is being started may not come to its end
        broken = [*in_time, *await _at_the_end(workers)]
        found = await findings(store, pictures, witness)
    logs = [worker.log for worker in workers.all]
    logged = _counted(logs)
    broken += [Broken(f"the logs hold {logged[word]} times {word!r}") for word in _OWN_WORDS if logged[word]]
    return Outcome(
        terms=terms,
        pictures=pictures,
        found=found,
        broken=[*broken, *found.broken],
        witness=witness,
        troubles=proxy.met,
        forwarded=proxy.forwarded,
        kills=harassing.kills,
        stops=harassing.stops,
        failed_starts=workers.failed_starts,
        duplicates=repeating.sent,
        logged=logged,
        duration_s=duration_s,
        logs=logs,
    )


def _dice(terms: Terms, what: str) -> random.Random:
    return random.Random(f"{terms.seed} {what}")


async def _live(
    store: Store, uploading: Uploading, repeating: Repeating, harassing: Harassing, terms: Terms
) -> list[Broken]:
    """Let everything happen until all uploads have ended and no message is left."""
    side_tasks = [asyncio.create_task(harassing.harass()), asyncio.create_task(repeating.repeat())]
    uploads = asyncio.gather(uploading.upload(), uploading.replace())
    try:
        async with asyncio.timeout(terms.uploads * terms.longest_s):
            await asyncio.wait({uploads, *side_tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in side_tasks:
                if task.done():
                    task.result()
            await uploads
        enough = round(_CHAOS_UNTIL * len(uploading.pictures))
        await until(
            lambda: len(uploading.witness.ended) >= enough, within_s=terms.patience_s, what="nearly all ended"
        )
        await _cancel(side_tasks)
        await _all_ended(store, uploading.pictures, within_s=terms.patience_s)
    except TimeoutError as error:
        return [Broken(f"the uploads have not all ended in time ({error})")]
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


async def _all_ended(store: Store, pictures: Sequence[Picture], *, within_s: float) -> None:
    """Wait until every record is at the end of its newest upload, and the queue is empty."""
    left = list(pictures)
    waiting = 0
    try:
        async with asyncio.timeout(within_s):
            while left or waiting:
                images = await store.images(left)
                left = [picture for picture in left if not _has_ended(picture, images)]
                waiting = await messages_in(store.sqs, store.settings.queue_name)
                await asyncio.sleep(0.5 if left or waiting else 0)  # leaves the emulator to the workers
    except TimeoutError:
        names = ", ".join(picture.image_id for picture in left[:10])
        message = f"{len(left)} pictures open: {names}; {waiting} messages in the queue"
        raise TimeoutError(message) from None


def _has_ended(picture: Picture, images: Mapping[str, Image]) -> bool:
    image = images.get(picture.image_id)
    return (
        image is not None
        and image.status in TERMINAL_STATUSES
        and image.version.e_tag == picture.newest.e_tag
    )


async def _at_the_end(workers: Workers) -> list[Broken]:
    """Ask the workers to end; nothing of theirs may be left."""
    await until(lambda: all(one.has_started for one in workers.here.values()), within_s=60, what=STARTED)
    broken = [Broken(f"a worker died by itself: {log.name}") for log in workers.died]
    try:
        statuses = await workers.drain()
    except TimeoutError:
        return [*broken, Broken("a worker did not end when it was asked to")]
    if any(statuses):
        broken.append(Broken(f"workers that were asked to end did so with {statuses}"))
    try:
        await until(lambda: not workers.decoders_left(), within_s=15, what="decoders gone")
    except TimeoutError:
        broken.append(Broken(f"decoders outlived their workers: {workers.decoders_left()}"))
    return broken


def _counted(logs: Sequence[Path]) -> Counter[str]:
    """Count what the workers logged, by event; images that ended also by code."""
    counts: Counter[str] = Counter()
    for log in logs:
        text = log.read_text(errors="replace")
        for line in text.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # the line in which a worker was killed
            counts[said["event"]] += 1
            if "code" in said:
                counts[f"{said['event']} {said['code']}"] += 1
        counts["Traceback"] += text.count("Traceback")
    return counts
