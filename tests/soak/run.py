"""
One soak run: a worker under a steady load of mixed images, sampled every few seconds.

From time to time response bodies are truncated or stalled, so that a connection that is never returned to the
pool shows.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import MAX_PIXELS, broken, valid_contents
from tests.soak.sampling import Sample, sample
from tests.support.emulators import client, messages_in, stack_name_of, unique_settings
from tests.support.fault_proxy import FaultProxy, ProxyFault, fault_proxy
from tests.support.watched import WatchedWorker, watched_worker
from worker.bootstrap import deploy_storage
from worker.domain.result_keys import DEFAULT_RESULT_KEY, ResultKeyTemplate

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

_USER: Final = "user_1"
_BROKEN_SHARE: Final = 0.05
_KEPT_OBJECTS: Final = 150
"""Number of images whose objects stay in the bucket; the embedded AWS holds all objects in memory."""

_FAULTS: Final = {ProxyFault.CUT: 0.10, ProxyFault.HALTED: 0.04}
_WITHOUT_FAULTS_S: Final = 40.0
_WITH_FAULTS_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """Duration, images per second, sampling interval and number of decoders of a run."""

    seconds: float = 600.0
    rate: float = 5.0
    sample_interval_s: float = 4.0
    decoders: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # asyncio.run would print it
class SoakResult:
    """Everything that a run measured."""

    options: SoakOptions
    samples: Sequence[Sample]
    uploads: int
    left: int
    cut: int
    halted: int
    exit_status: int


@dataclass(eq=False)
class _Load:
    """Upload images at a steady rate, and delete old objects."""

    s3: "S3Client"
    bucket: str
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    put: int = 0

    async def run(self, *, rate: float, until_s: float) -> None:
        """Upload until the time is over; delays are made up for."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < until_s:
            if self.put > passed * rate:
                await asyncio.sleep(self.put / rate - passed)  # the rate of the load
            content = self.rng.choice(broken() if self.rng.random() < _BROKEN_SHARE else valid_contents())
            await self.s3.put_object(Bucket=self.bucket, Key=_key(self.put), Body=content.file)
            self.put += 1
            if self.put % 50 == 0 and self.put > _KEPT_OBJECTS:
                await self._delete(range(self.put - _KEPT_OBJECTS - 50, self.put - _KEPT_OBJECTS))

    async def _delete(self, numbers: range) -> None:
        template = ResultKeyTemplate.parse(DEFAULT_RESULT_KEY, prefix="processed/")
        keys = [_key(number) for number in numbers] + [
            template.key(
                user_id=_USER,
                image_id=_name(number),
                extension=extension,
                size="medium",
                is_main=True,
                version="",
            )
            for number in numbers
            for extension in ("jpg", "png", "webp")
        ]
        await self.s3.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )


@dataclass(frozen=True, slots=True)
class _Watch:
    """Sample the worker at intervals."""

    worker: WatchedWorker
    proxy: FaultProxy
    samples: list[Sample]

    async def run(self, *, sample_interval_s: float) -> None:
        """Take samples until cancelled."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(sample_interval_s)  # the rate of the load
            at_s = time.monotonic() - began
            faults_active = self.proxy.is_injecting_faults
            self.samples.append(await sample(self.worker, at_s=at_s, faults_active=faults_active))


async def _toggle_faults(proxy: FaultProxy) -> None:
    """Inject faults into response bodies at intervals until cancelled."""
    while True:
        await asyncio.sleep(_WITHOUT_FAULTS_S)
        proxy.is_injecting_faults = True
        await asyncio.sleep(_WITH_FAULTS_S)
        proxy.is_injecting_faults = False


async def run(options: SoakOptions, *, endpoint_url: str, folder: Path) -> SoakResult:
    """
    Run once, on newly created resources.

    Args:
        options: Options of the run.
        endpoint_url: Endpoint of an emulated AWS.
        folder: Folder for the worker's log.
    """
    settings = unique_settings(endpoint_url)
    async with AsyncExitStack() as stack:
        s3, sqs, dynamodb, cloudformation = [
            await stack.enter_async_context(client(service, settings))
            for service in ("s3", "sqs", "dynamodb", "cloudformation")
        ]
        await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        proxy = await stack.enter_async_context(fault_proxy(endpoint_url, seed=1))
        proxy.weights = _FAULTS
        worker = await stack.enter_async_context(
            watched_worker(
                settings,
                folder,
                endpoint_url=proxy.endpoint_url,
                WORKER_PROCESSES=str(options.decoders),
                WORKER_MAX_PIXELS=str(MAX_PIXELS),
            )
        )
        load = _Load(s3, settings.bucket)
        samples: list[Sample] = []
        watch = _Watch(worker, proxy, samples)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run(sample_interval_s=options.sample_interval_s))
            toggling = tasks.create_task(_toggle_faults(proxy))
            await load.run(rate=options.rate, until_s=options.seconds)
            watching.cancel()
            toggling.cancel()
        proxy.is_injecting_faults = False
        left = await _wait_until_empty(sqs, settings.queue_name, within_s=90)
        status = await worker.drain()
    return SoakResult(
        options=options,
        samples=samples,
        uploads=load.put,
        left=left,
        cut=proxy.met[ProxyFault.CUT],
        halted=proxy.met[ProxyFault.HALTED],
        exit_status=status,
    )


async def _wait_until_empty(sqs: "SQSClient", queue_name: str, *, within_s: float) -> int:
    """Wait until the queue is empty; return the number of messages left at the timeout."""
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
