"""
One run of the soak: a worker under a steady load of mixed pictures, looked at every few seconds.

From time to time the bodies that it reads are cut or halted, so that a connection that is not given back
would show.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import MOST_PIXELS, broken, whole
from tests.soak.vitals import Sample, sample
from tests.support.emulators import client, messages_in, stack_name_of, unique_settings
from tests.support.fault_proxy import FaultProxy, Trouble, fault_proxy
from tests.support.watched import WatchedWorker, watched_worker
from worker.bootstrap import deploy_storage
from worker.domain.keys import result_key

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

_USER: Final = "user_1"
_BROKEN_SHARE: Final = 0.05
_KEPT: Final = 150
"""Pictures whose objects are left in the bucket: the embedded AWS keeps all that it has in memory."""

_STORM: Final = {Trouble.CUT: 0.10, Trouble.HALTED: 0.04}
_CALM_S: Final = 40.0
_STORM_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long, how many pictures a second, and how often it is looked."""

    seconds: float = 600.0
    rate: float = 5.0
    every_s: float = 4.0
    decoders: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # asyncio.run asks for it
class Soaked:
    """What was seen."""

    terms: Terms
    samples: Sequence[Sample]
    uploads: int
    left: int
    cut: int
    halted: int
    exit_status: int


@dataclass(eq=False)
class _Load:
    """Puts pictures at a steady rate, and takes away what was put long ago."""

    s3: "S3Client"
    bucket: str
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    put: int = 0

    async def go_on(self, *, rate: float, until_s: float) -> None:
        """Put until the time has come; what was held up is made up for."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < until_s:
            if self.put > passed * rate:
                await asyncio.sleep(self.put / rate - passed)  # the rate itself
            content = self.dice.choice(broken() if self.dice.random() < _BROKEN_SHARE else whole())
            await self.s3.put_object(Bucket=self.bucket, Key=_key(self.put), Body=content.file)
            self.put += 1
            if self.put % 50 == 0 and self.put > _KEPT:
                await self._take_away(range(self.put - _KEPT - 50, self.put - _KEPT))

    async def _take_away(self, numbers: range) -> None:
        keys = [_key(number) for number in numbers] + [
            result_key(prefix="processed/", user_id=_USER, image_id=_name(number), extension=extension)
            for number in numbers
            for extension in ("jpg", "png", "webp")
        ]
        await self.s3.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )


@dataclass(frozen=True, slots=True)
class _Watch:
    """Looks at the worker again and again."""

    worker: WatchedWorker
    proxy: FaultProxy
    samples: list[Sample]

    async def go_on(self, *, every_s: float) -> None:
        """Look until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(every_s)  # the rate itself
            at_s = time.monotonic() - began
            is_stormy = self.proxy.is_making_trouble
            self.samples.append(await sample(self.worker, at_s=at_s, is_stormy=is_stormy))


async def _change_weather(proxy: FaultProxy) -> None:
    """Let bodies be cut and halted for a while, again and again, until cancelled."""
    while True:
        await asyncio.sleep(_CALM_S)
        proxy.is_making_trouble = True
        await asyncio.sleep(_STORM_S)
        proxy.is_making_trouble = False


async def run(terms: Terms, *, endpoint_url: str, folder: Path) -> Soaked:
    """
    Run once, on resources of its own.

    Args:
        terms: How long, and how much.
        endpoint_url: An AWS that is shared with nobody.
        folder: For the worker's log.
    """
    settings = unique_settings(endpoint_url)
    async with AsyncExitStack() as stack:
        s3, sqs, dynamodb, cloudformation = [
            await stack.enter_async_context(client(service, settings))
            for service in ("s3", "sqs", "dynamodb", "cloudformation")
        ]
        await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        proxy = await stack.enter_async_context(fault_proxy(endpoint_url, seed=1))
        proxy.weights = _STORM
        worker = await stack.enter_async_context(
            watched_worker(
                settings,
                folder,
                endpoint_url=proxy.endpoint_url,
                WORKER_PROCESSES=str(terms.decoders),
                WORKER_MAX_PIXELS=str(MOST_PIXELS),
            )
        )
        load = _Load(s3, settings.bucket)
        samples: list[Sample] = []
        watch = _Watch(worker, proxy, samples)
        async with asyncio.TaskGroup() as beside:
            watching = beside.create_task(watch.go_on(every_s=terms.every_s))
            weather = beside.create_task(_change_weather(proxy))
            await load.go_on(rate=terms.rate, until_s=terms.seconds)
            watching.cancel()
            weather.cancel()
        proxy.is_making_trouble = False
        left = await _left(sqs, settings.queue_name, within_s=90)
        status = await worker.drain()
    return Soaked(
        terms=terms,
        samples=samples,
        uploads=load.put,
        left=left,
        cut=proxy.met[Trouble.CUT],
        halted=proxy.met[Trouble.HALTED],
        exit_status=status,
    )


async def _left(sqs: "SQSClient", queue_name: str, *, within_s: float) -> int:
    """Wait until no message is left; return how many there are when there is no more time."""
    waiting = 1
    ends = time.monotonic() + within_s
    while waiting and time.monotonic() < ends:
        await asyncio.sleep(0.5)
        waiting = await messages_in(sqs, queue_name)
    return waiting


def _name(number: int) -> str:
    return f"img_{number:06d}"


def _key(number: int) -> str:
    return f"uploads/{_USER}/{_name(number)}.jpg"
