"""The one table of a run, and the evidence where a promise is broken."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.chaos.promises import in_order, told
from tests.chaos.run import Outcome
from worker.domain.image import Image

_MOST_EVIDENCE: Final = 20


def show(outcome: Outcome, console: Console) -> None:
    """Print the table; then each promise that was broken, with the history of its image."""
    table = Table(title=f"Chaos, seed {outcome.terms.seed}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows(outcome):
        table.add_row(name, value)
    console.print(table)
    for broken in outcome.broken[:_MOST_EVIDENCE]:
        console.print(f"BROKEN {broken.image_id or ''} {broken.sentence}", markup=False, highlight=False)
        image = outcome.found.images.get(broken.image_id or "")
        if image is not None:
            console.print(_evidence(outcome, image), markup=False, highlight=False)


def rows(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Return what was done, what was seen, and what came of it."""
    terms, found, witness = outcome.terms, outcome.found, outcome.witness
    images = list(found.images.values())
    attempts = [image.attempt for image in images]
    codes = Counter(picture.newest.code for picture in outcome.pictures if picture.newest.code)
    replaced = sum(len(picture.versions) - 1 for picture in outcome.pictures)
    yield "workers, decoders of each", f"{terms.workers}, 1"
    users = len({image.user_id for image in images})
    yield "uploads", f"{terms.uploads:,} of {len(outcome.pictures):,} pictures, {users} users"
    superseded = outcome.logged["image.released superseded"]
    yield "replaced while worked on", f"{replaced}; {superseded} attempts superseded"
    yield "broken pictures, at last", f"{codes.total()}: {_listed(codes)}"
    yield "duplicate events", f"{outcome.duplicates}"
    yield "kills", f"{outcome.kills}, and {outcome.failed_starts} starts that failed amid the trouble"
    yield "stops past the lease", f"{outcome.stops}"
    yield "calls", f"{outcome.forwarded:,}: {_listed(witness.calls)}"
    yield "troubles", f"{sum(outcome.troubles.values()):,}: {_listed(outcome.troubles)}"
    yield "attempts", f"{sum(attempts):,}, at most {max(attempts, default=0)} of one picture"
    refused = Counter(stale.what for stale in witness.refused)
    yield "stale writes tried", f"{len(witness.refused) + len(witness.landed)}"
    yield "stale writes refused", f"{len(witness.refused)}: {_listed(refused)}"
    yield "repeats of landed writes refused", f"{witness.repeats}"
    yield "leases lost, by the logs", f"{outcome.logged['image.lease_lost']}"
    yield "results adopted", f"{found.adopted}"
    yield "results that no record names", f"{found.left_over}; {witness.beside} of them stored late"
    backwards = sum(in_order(image.history) != image.history for image in images)
    yield "trails whose times run backwards", f"{backwards}, each between two workers"
    yield "dead letters", f"{found.dead_letters}"
    yield "lost", f"{found.lost}"
    yield "double counts", f"{found.double_counts}"
    yield "promises broken", f"{len(outcome.broken)}"
    yield "duration", f"{outcome.duration_s:.0f} s, {terms.uploads / outcome.duration_s:.1f} uploads/s"


def _listed(counts: "Counter[str]") -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def _evidence(outcome: Outcome, image: Image) -> str:
    """Return an image's history, and what the workers logged of it."""
    lines = [
        f"  {log.name}: {line}"
        for log in outcome.logs
        for line in log.read_text(errors="replace").splitlines()
        if f'"{image.image_id}"' in line
    ]
    return "\n".join([told(image), *lines])
