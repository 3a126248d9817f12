"""Who makes the chaos: one uploads and replaces, one sends messages twice, one kills and stops workers."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.chaos.promises import Store
from tests.chaos.uploads import Picture
from tests.chaos.witness import Witness
from tests.chaos.workers import Workers

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

LEASE_S: Final = 6
"""The shortest that a visibility timeout may be."""

_OUTLIVES_S: Final = (LEASE_S + 0.5, LEASE_S + 2.5)
"""How long a worker stands still, from and to."""


@dataclass(eq=False)
class Uploading:
    """Puts pictures as others end, and each replacement in the moment in which its forerunner is claimed."""

    store: Store
    pictures: Sequence[Picture]
    backlog: int
    witness: Witness = field(init=False)
    put: Counter[str] = field(default_factory=Counter)
    _claimed: "asyncio.Queue[tuple[str, str]]" = field(default_factory=asyncio.Queue)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def saw_claim(self, image_id: str, e_tag: str) -> None:
        """Note that an upload is being worked on."""
        self._claimed.put_nowait((image_id, e_tag))

    def saw_end(self) -> None:
        """Note that there may be room for more."""
        self._moved.set()

    @property
    def is_done(self) -> bool:
        """Tell whether everything has been put."""
        return self.put.total() == sum(len(picture.versions) for picture in self.pictures)

    async def upload(self) -> None:
        """Put the first version of every picture."""
        for picture in self.pictures:
            while len(self.put) - len(self.witness.ended) >= self.backlog:
                self._moved.clear()
                await self._moved.wait()
            await self._put(picture)

    async def replace(self) -> None:
        """Put the further versions of pictures while the ones before are worked on; ends with the last."""
        pictures = {picture.image_id: picture for picture in self.pictures}
        while not self.is_done:
            image_id, e_tag = await self._claimed.get()
            picture, put = pictures[image_id], self.put[image_id]
            if put < len(picture.versions) and picture.versions[put - 1].e_tag == e_tag:
                await self._put(picture)

    async def _put(self, picture: Picture) -> None:
        content = picture.versions[self.put[picture.image_id]]
        self.put[picture.image_id] += 1  # before the call: the claim may be seen before the answer
        await self.store.s3.put_object(
            Bucket=self.store.settings.bucket, Key=picture.key, Body=content.file, ContentType="image/jpeg"
        )


@dataclass(eq=False)
class Repeating:
    """Sends some of the messages that were handed out a second time, some of them much later."""

    sqs: "SQSClient"
    url: str
    dice: random.Random
    share: float
    sent: int = 0
    _drawn: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    def saw_message(self, body: str) -> None:
        """Draw whether a message comes twice."""
        if self.dice.random() < self.share:
            self._drawn.put_nowait(body)

    async def repeat(self) -> None:
        """Send what was drawn, until cancelled."""
        while True:
            body = await self._drawn.get()
            await self.sqs.send_message(
                QueueUrl=self.url, MessageBody=body, DelaySeconds=self.dice.choice((0, 0, 1, 3, 8))
            )
            self.sent += 1


@dataclass(eq=False)
class Harassing:
    """Kills and replaces workers, or stops them for longer than their leases."""

    workers: Workers
    dice: random.Random
    pause_s: tuple[float, float]
    kills: int = 0
    stops: int = 0

    async def harass(self) -> None:
        """Go on until cancelled; nobody stands still then."""
        wakes: dict[int, float] = {}
        turns: list[str] = []
        try:
            while True:
                # The schedule of the chaos, which waits for nobody: somewhere in the middle of the work.
                await asyncio.sleep(self.dice.uniform(*self.pause_s))
                now = time.monotonic()
                for place in [place for place, due in wakes.items() if due <= now]:
                    del wakes[place]
                    self.workers.wake(place)
                working = self.workers.working
                if len(working) < 2:
                    continue  # the last one is left in peace, so that the run gets on
                place = self.dice.choice(working)
                turns = turns or self.dice.sample(("kill", "stop"), 2)
                if turns[-1] == "kill":
                    self.workers.kill(place)
                    self.kills += 1
                elif 2 * len(wakes) < len(self.workers.here):
                    self.workers.stop(place)
                    wakes[place] = now + self.dice.uniform(*_OUTLIVES_S)
                    self.stops += 1
                else:
                    continue  # half of them stand still
                turns.pop()
        finally:
            for place in wakes:
                self.workers.wake(place)
