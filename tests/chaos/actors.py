"""The actors of a chaos run: an uploader, a sender of duplicates, and a killer of worker processes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import PlannedImage
from tests.chaos.verification import Store
from tests.chaos.witness import Witness
from tests.chaos.workers import Workers

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

LEASE_S: Final = 6
"""The shortest visibility timeout that the settings allow."""

_SUSPENSION_S: Final = (LEASE_S + 0.5, LEASE_S + 2.5)
"""Minimum and maximum time for which a worker is suspended: longer than its lease."""


@dataclass(eq=False)
class Uploader:
    """Upload images as earlier ones end, and each replacement as soon as the version before it is claimed."""

    store: Store
    planned_images: Sequence[PlannedImage]
    backlog: int
    witness: Witness = field(init=False)
    put: Counter[str] = field(default_factory=Counter)
    _claimed: "asyncio.Queue[tuple[str, str]]" = field(default_factory=asyncio.Queue)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def on_claim(self, image_id: str, e_tag: str) -> None:
        """Record that an upload was claimed."""
        self._claimed.put_nowait((image_id, e_tag))

    def on_end(self) -> None:
        """Record that an image ended, so that the backlog may have space for another."""
        self._moved.set()

    @property
    def is_done(self) -> bool:
        """Return whether every version was uploaded."""
        return self.put.total() == sum(len(planned.versions) for planned in self.planned_images)

    async def upload(self) -> None:
        """Upload the first version of every image."""
        for planned in self.planned_images:
            while len(self.put) - len(self.witness.ended) >= self.backlog:
                self._moved.clear()
                await self._moved.wait()
            await self._put(planned)

    async def replace(self) -> None:
        """Upload further versions of images while the earlier ones are processed; return after the last."""
        planned_images = {planned.image_id: planned for planned in self.planned_images}
        while not self.is_done:
            image_id, e_tag = await self._claimed.get()
            planned, put = planned_images[image_id], self.put[image_id]
            if put < len(planned.versions) and planned.versions[put - 1].e_tag == e_tag:
                await self._put(planned)

    async def _put(self, planned: PlannedImage) -> None:
        content = planned.versions[self.put[planned.image_id]]
        self.put[planned.image_id] += 1  # before the call: the claim may be seen before the response
        await self.store.s3.put_object(
            Bucket=self.store.settings.bucket,
            Key=planned.key,
            Body=content.file,
            ContentType="image/jpeg",
            Metadata=planned.metadata,
        )


@dataclass(eq=False)
class Duplicator:
    """Send some of the received messages a second time, some of them much later."""

    sqs: "SQSClient"
    url: str
    rng: random.Random
    share: float
    sent: int = 0
    _drawn: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    def on_message(self, body: str) -> None:
        """Decide at random whether a message is sent again."""
        if self.rng.random() < self.share:
            self._drawn.put_nowait(body)

    async def repeat(self) -> None:
        """Send the chosen messages until cancelled."""
        while True:
            body = await self._drawn.get()
            await self.sqs.send_message(
                QueueUrl=self.url, MessageBody=body, DelaySeconds=self.rng.choice((0, 0, 1, 3, 8))
            )
            self.sent += 1


@dataclass(eq=False)
class ProcessKiller:
    """Kill workers, or suspend them for longer than their leases."""

    workers: Workers
    rng: random.Random
    pause_s: tuple[float, float]
    kills: int = 0
    suspensions: int = 0

    async def run(self) -> None:
        """Kill and suspend workers until cancelled, then resume all of them."""
        resume_at: dict[int, float] = {}
        turns: list[str] = []
        try:
            while True:
                # The schedule itself, independent of what the workers are doing.
                await asyncio.sleep(self.rng.uniform(*self.pause_s))
                now = time.monotonic()
                for slot in [slot for slot, due in resume_at.items() if due <= now]:
                    del resume_at[slot]
                    self.workers.resume(slot)
                working = self.workers.working
                if len(working) < 2:
                    continue  # the last one is left alone, so that the run makes progress
                slot = self.rng.choice(working)
                turns = turns or self.rng.sample(("kill", "suspend"), 2)
                if turns[-1] == "kill":
                    self.workers.kill(slot)
                    self.kills += 1
                elif 2 * len(resume_at) < len(self.workers.current):
                    self.workers.suspend(slot)
                    resume_at[slot] = now + self.rng.uniform(*_SUSPENSION_S)
                    self.suspensions += 1
                else:
                    continue  # half of them are suspended already
                turns.pop()
        finally:
            for slot in resume_at:
                self.workers.resume(slot)
