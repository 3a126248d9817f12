"""Make the pollers of images read again what the repair tools of this console have changed."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from worker.console.context import OpenRepairs
from worker.console.live.image_pollers import ImagePollers
from worker.domain.requester import Requester
from worker.repair.context import RepairContext, Reporter
from worker.repair.control import UNCONTROLLED, Control


@dataclass(frozen=True, slots=True)
class _Observed:
    """A reporter whose repaired images are polled again, before it receives each result."""

    reporter: Reporter
    images: ImagePollers

    def done(self, action: str, *, image_id: str, user_id: str) -> None:
        """Poll the image again, and report it."""
        self.images.requeued(image_id, user_id)
        self.reporter.done(action, image_id=image_id, user_id=user_id)

    def skipped(self, reason: str) -> None:
        """Report an image that needs no repair."""
        self.reporter.skipped(reason)

    def failed(self, subject: str, message: str) -> None:
        """Report an image or message that could not be repaired."""
        self.reporter.failed(subject, message)


@dataclass(frozen=True, slots=True)
class ObservedRepairs:
    """
    Implements `OpenRepairs`: the same tools, whose repaired images are polled again.

    Attributes:
        open_repairs: Opens the tools.
        images: The pollers of watched images.
    """

    open_repairs: OpenRepairs
    images: ImagePollers

    def __call__(
        self,
        *,
        requester: Requester,
        reporter: Reporter,
        rate_per_s: float,
        dry_run: bool = False,
        control: Control = UNCONTROLLED,
    ) -> AbstractAsyncContextManager[RepairContext]:
        """Open the tools."""
        return self.open_repairs(
            requester=requester,
            reporter=reporter if dry_run else _Observed(reporter, self.images),
            rate_per_s=rate_per_s,
            dry_run=dry_run,
            control=control,
        )
