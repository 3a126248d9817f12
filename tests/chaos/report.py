"""The table of a run, and the evidence for each broken promise."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.chaos.run import ChaosResult
from tests.chaos.verification import history_text, in_order
from tests.support.fault_proxy import ProxyFault
from worker.domain.image import Image

_MAX_EVIDENCE: Final = 20


def show(result: ChaosResult, console: Console) -> None:
    """Print the table, then each broken promise with the history of its image."""
    table = Table(title=f"Chaos, seed {result.options.seed}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows(result):
        table.add_row(name, value)
    console.print(table)
    for broken in result.broken[:_MAX_EVIDENCE]:
        console.print(f"BROKEN {broken.image_id or ''} {broken.message}", markup=False, highlight=False)
        image = result.found.images.get(broken.image_id or "")
        if image is not None:
            console.print(_evidence(result, image), markup=False, highlight=False)


def rows(result: ChaosResult) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table."""
    options, found, witness = result.options, result.found, result.witness
    images = list(found.images.values())
    attempts = [image.attempt for image in images]
    codes = Counter(planned.newest.code for planned in result.planned_images if planned.newest.code)
    replaced = sum(len(planned.versions) - 1 for planned in result.planned_images)
    yield "workers, decoders per worker", f"{options.workers}, 1"
    users = len({image.user_id for image in images})
    yield "uploads", f"{options.uploads:,} of {len(result.planned_images):,} images, {users} users"
    superseded = result.logged["image.released superseded"]
    yield "replaced during processing", f"{replaced}; {superseded} attempts superseded"
    yield "invalid images", f"{codes.total()}: {_format_counts(codes)}"
    yield "duplicate events", f"{result.duplicates}"
    yield (
        "kills",
        f"{result.kills}, and {result.failed_starts} failed starts",
    )
    hostile = [planned for planned in result.planned_images if planned.is_hostile]
    yield (
        "hostile uploads, hostile messages",
        f"{len(hostile)}, as many; workers killed by images: {result.killed_by_images}",
    )
    good = len(result.planned_images) - len(hostile)
    yield "good images per second", f"{good / result.duration_s:.1f}"
    yield "suspensions past the lease", f"{result.suspensions}"
    yield "calls", f"{result.forwarded:,}: {_format_counts(witness.calls)}"
    yield "injected faults", f"{sum(result.faults.values()):,}: {_format_counts(result.faults)}"
    yield "attempts", f"{sum(attempts):,}, at most {max(attempts, default=0)} for one image"
    rejected = Counter(stale.what for stale in witness.rejected)
    yield "stale writes tried", f"{len(witness.rejected) + len(witness.landed)}"
    yield "stale writes rejected", f"{len(witness.rejected)}: {_format_counts(rejected)}"
    yield "retries of landed writes rejected", f"{witness.repeated_writes}"
    yield "leases lost, according to the logs", f"{result.logged['image.lease_lost']}"
    yield "results adopted", f"{found.adopted}"
    yield (
        "results that no record names",
        f"{found.left_over}; {witness.orphaned} of them stored by a stale attempt",
    )
    backwards = sum(in_order(image.history) != image.history for image in images)
    yield "histories with decreasing timestamps", f"{backwards}, each between two workers"
    consumer = result.consumer
    events = sum(map(len, consumer.received.values()))
    yield (
        "events",
        f"{events:,}, {consumer.lines:,} with repeated ones; consumer killed {consumer.kills} times",
    )
    yield "dead letters", f"{found.dead_letters}"
    yield "lost", f"{found.lost}"
    yield "double counts", f"{found.double_counts}"
    yield "promises broken", f"{len(result.broken)}"
    yield (
        "duration",
        f"{result.duration_s:.0f} s, {options.uploads / result.duration_s:.1f} uploads/s",
    )


def _format_counts(counts: Counter[str] | Counter[ProxyFault]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def _evidence(result: ChaosResult, image: Image) -> str:
    """Return an image's history and the log lines about it."""
    lines = [
        f"  {log.name}: {line}"
        for log in result.logs
        for line in log.read_text(errors="replace").splitlines()
        if f'"{image.image_id}"' in line
    ]
    return "\n".join([history_text(image), *lines])
