"""
Fixes that the simulation guards, and what it finds when one of them is reverted.

Each defect is the text of a fix and the text without it. `python -m tests.simulation.reverted` prints for
each the first seed that finds it, as a row of the table in `docs/simulation.md`.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any, Final

from tests.simulation.schedule import Profile, Schedule, draw
from tests.simulation.world import Outcome, simulate, simulating

_MAX_SEEDS: Final = 400
"""Schedules of the profile that are tried: the seed that finds a defect may change with other code."""


@dataclass(frozen=True, slots=True)
class Edit:
    """
    A piece of code, with and without the fix.

    Attributes:
        function: Module and qualified name: `worker.domain.claim:decide`.
        fixed: Text in the function, as it is.
        defective: Text in its place.
    """

    function: str
    fixed: str
    defective: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """
    A defect that was fixed.

    Attributes:
        name: What happened before the fix.
        invariant: The invariant that is violated without the fix.
        seed: A seed that finds it.
        profile: Profile of the seeds that are tried.
        edits: How the fix is reverted.
    """

    name: str
    invariant: str
    seed: int
    profile: Profile
    edits: tuple[Edit, ...]


DEFECTS: Final[Sequence[Defect]] = (
    Defect(
        name="an AWS error about one object counts as an outage",
        invariant="hostile uploads delay no others",
        seed=353,
        profile=Profile.HOSTILE,
        edits=(
            Edit(
                "worker.delivery.outcome:outcome_of",
                "isinstance(error, TransientError) and error.is_dependency_failure",
                "isinstance(error, TransientError)",
            ),
            Edit(
                "worker.s3.sources:S3Sources.fetch",
                "if is_rejected(cause) or (is_unreadable(cause) and not is_damaged(cause)):",
                "if not error:",
            ),
            Edit(
                "worker.delivery.consumer:Consumer._receive",
                "len(self._failed_messages) >= _OUTAGE_MESSAGES",
                "bool(self._failed_messages)",
            ),
        ),
    ),
    Defect(
        name="an image that kills its worker takes the images in flight along",
        invariant="everything ends in time",
        seed=18,
        profile=Profile.KILLERS,
        edits=(
            Edit(
                "worker.delivery.handler:MessageHandler.handle",
                "if message.receive_count <= self._config.max_receives:",
                "if message:",
            ),
            Edit(
                "worker.delivery.handler:MessageHandler._claim_and_process",
                "leaves_suspects=suspect is None",
                "leaves_suspects=False",
            ),
        ),
    ),
    Defect(
        name="one odd response of SQS ends the worker",
        invariant="a worker runs until it is stopped",
        seed=107,
        profile=Profile.FAULTS,
        edits=(Edit("worker.delivery.consumer:Consumer._receive", "if not has_received:", "if error:"),),
    ),
    Defect(
        name="the history grows with each replacement",
        invariant="records stay small",
        seed=9,
        profile=Profile.REPLACEMENTS,
        edits=(
            Edit(
                "worker.domain.history:bounded",
                "if len(kept) == len(entries):",
                "if entries is not None:",
            ),
        ),
    ),
    Defect(
        name="the results of one image are stored under the keys of another's",
        invariant="results belong to one image",
        seed=81,
        profile=Profile.EVERYTHING,
        edits=(
            Edit(
                "worker.domain.result_keys:ResultKeyTemplate.key",
                'key += f"{SIZE_SEPARATOR}{name}" if name or is_ambiguous else ""',
                'key += f"_{name}" if name else ""',
            ),
            Edit(
                "worker.s3.results:S3Results._other_owner",
                'if (owner := metadata.get("image")) is not None:',
                "if metadata is not None:\n        return None\n    if owner := None:",
            ),
        ),
    ),
    Defect(
        name="uploads of two keys share a record",
        invariant="no upload is lost",
        seed=31,
        profile=Profile.CALM,
        edits=(Edit("worker.dynamodb.ledger:DynamoLedger.claim", "seen.key != job.key", "seen is None"),),
    ),
    Defect(
        name="a worker writes to a record after its lease was taken over",
        invariant="a worker without the lease changes nothing",
        seed=729,
        profile=Profile.CRASHES,
        edits=(
            Edit(
                "worker.dynamodb.expressions:UpdateExpression.require_held",
                'self.require_equal("attempt", image.attempt)',
                'self.require_exists("attempt")',
            ),
            Edit(
                "worker.dynamodb.expressions:UpdateExpression.require_held",
                'self.require_equal("leaseOwner", image.lease.owner if image.lease else None)',
                'self.require_exists("imageId")',
            ),
            Edit(
                "worker.dynamodb.image_updates:progress_update",
                "expression.require_same_history(before)",
                "pass",
            ),
        ),
    ),
    Defect(
        name="an object that S3 rejects is retried until its message is a dead letter",
        invariant="every upload ends as it should",
        seed=22,
        profile=Profile.HOSTILE,
        edits=(
            Edit(
                "worker.s3.sources:S3Sources.fetch",
                "if is_rejected(cause) or (is_unreadable(cause) and not is_damaged(cause)):",
                "if not error:",
            ),
        ),
    ),
    Defect(
        name="a key that is too long for its results is retried until its message is a dead letter",
        invariant="every upload ends as it should",
        seed=100,
        profile=Profile.HOSTILE,
        edits=(
            Edit(
                "worker.domain.result_keys:ResultKeyTemplate.key",
                "if length > MAX_KEY_BYTES:",
                "if not length:",
            ),
        ),
    ),
    Defect(
        name="a watermark text of 70,000 characters fails its user's images",
        invariant="every upload ends as it should",
        seed=830,
        profile=Profile.HOSTILE,
        edits=(
            Edit("worker.domain.profile:_why_unusable", "if len(value) > max_characters:", "if not value:"),
        ),
    ),
    Defect(
        name="an image whose record was deleted or restored loses its lease at every attempt",
        invariant="every upload ends as it should",
        seed=44,
        profile=Profile.RESTORES,
        edits=(
            Edit(
                "worker.delivery.handler:MessageHandler._store_rendition",
                "except LaterResultError as error:",
                "except ZeroDivisionError as error:",
            ),
        ),
    ),
    Defect(
        name="an image whose record was deleted is counted again",
        invariant="statistics are exact",
        seed=65,
        profile=Profile.RESTORES,
        edits=(
            Edit(
                "worker.s3.results:_counted_bytes",
                'if record.partition("/")[0] != origin["record"].partition("/")[0]:',
                "if image:",
            ),
        ),
    ),
    Defect(
        name="a worker replaces the result of the record that was created after its own",
        invariant="a worker without the lease changes nothing",
        seed=38,
        profile=Profile.RESTORES,
        edits=(
            Edit(
                "worker.s3.results:_can_be_kept",
                "if is_later or (is_of_other_record and not has_raised):",
                "if is_later:",
            ),
        ),
    ),
    Defect(
        name="late responses to heartbeats let no slow image end",
        invariant="every upload ends as it should",
        seed=6,
        profile=Profile.HEARTBEATS,
        edits=(
            Edit(
                "worker.sqs.heartbeat:Heartbeat._tolerate",
                "is_answered = not (is_timeout(error) or is_timeout(error.__cause__))",
                "is_answered = True",
            ),
        ),
    ),
    Defect(
        name="a worker whose clock is an hour fast leaves leases of an hour",
        invariant="everything ends in time",
        seed=299,
        profile=Profile.CLOCKS,
        edits=(
            Edit(
                "worker.domain.image:Image.is_leased",
                "now < self.lease.expires_at <= now + lease_time + MAX_CLOCK_ERROR",
                "now < self.lease.expires_at",
            ),
        ),
    ),
    Defect(
        name="a checksum mismatch or a redirect costs an attempt",
        invariant="a failed request costs no attempt",
        seed=198,
        profile=Profile.BLIPS,
        edits=(
            Edit(
                "worker.aws.errors:is_transient",
                "_CONNECTION_FAILURES + _DAMAGED_RESPONSES",
                "_CONNECTION_FAILURES",
            ),
        ),
    ),
    Defect(
        name="a late worker replaces the result of a later attempt",
        invariant="a worker without the lease changes nothing",
        seed=1862,
        profile=Profile.CRASHES,
        edits=(
            Edit(
                "worker.s3.results:S3Results._put",
                'request["IfNoneMatch"] = "*"',
                "pass",
            ),
            Edit(
                "worker.s3.results:S3Results._put",
                """request["IfMatch"] = f'"{replaced_e_tag}"'""",
                "pass",
            ),
        ),
    ),
    Defect(
        name="a restored record keeps the eTags of results that were replaced since",
        invariant="a completed record names its results",
        seed=136,
        profile=Profile.RESTORES,
        edits=(
            Edit(
                "worker.repair.result_state:_compare",
                "if is_recorded else ResultState.REPLACED",
                "if is_recorded else ResultState.AS_RECORDED",
            ),
        ),
    ),
    Defect(
        name="a result that has replaced a leftover is deleted",
        invariant="a completed record names its results",
        seed=733,
        profile=Profile.RESTORES,
        edits=(
            Edit(
                "worker.s3.deletes:delete_object",
                """Key=key, IfMatch=f'"{e_tag.strip(chr(34))}"'""",
                "Key=key",
            ),
        ),
    ),
    Defect(
        name="a decoder that was taken over writes any status into the record",
        invariant="every record can be read",
        seed=243,
        profile=Profile.EVERYTHING,
        edits=(
            Edit(
                "worker.decoder_pool.decoder_output:expect_report",
                "_REPORTS[step].validate_python(frame.header)",
                "dict(frame.header)",
            ),
            Edit(
                "worker.decoder_pool.decoder_output:expect_rendition",
                'check_rendition_file(frame.body, image_format=rendition["format"], extent=extent)',
                "pass",
            ),
            Edit("worker.dynamodb.items:_step_to_map", "**record.detail,", ""),
            Edit(
                "worker.dynamodb.items:_step_to_map",
                "if record.completed_at else None,",
                "if record.completed_at else None,\n            **record.detail,",
            ),
        ),
    ),
    Defect(
        name="a message is deleted before its image is recorded",
        invariant="everything ends in time",
        seed=7,
        profile=Profile.CRASHES,
        edits=(
            Edit(
                "worker.delivery.handler:MessageHandler._process",
                "source = await self._fetch(attempt)",
                "await self._queue.delete(attempt.message)\n    source = await self._fetch(attempt)",
            ),
        ),
    ),
)


def row(defect: Defect, seed: int) -> str:
    """Return a defect as a row of the table of the documentation."""
    return f"| {defect.name} | {defect.invariant} | `make simulate SEED={seed}` |"


@contextmanager
def reverted(defect: Defect) -> Iterator[None]:
    """Run the body without a fix; for use inside of `simulating`."""
    with ExitStack() as stack:
        for edit in defect.edits:
            stack.enter_context(_edited(edit))
        yield


@contextmanager
def _edited(edit: Edit) -> Iterator[None]:
    module_name, _, qualified = edit.function.partition(":")
    module = import_module(module_name)
    owner: Any = module
    *parents, name = qualified.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    source = _SOURCES.get(original) or textwrap.dedent(inspect.getsource(original))
    if source.count(edit.fixed) != 1:
        message = f"{edit.function} does not contain exactly once: {edit.fixed}"
        raise LookupError(message)
    source = source.replace(edit.fixed, edit.defective)
    namespace: dict[str, Any] = {}
    exec(compile(source, f"<{edit.function}>", "exec"), vars(module), namespace)  # noqa: S102 - our own code
    changed = namespace[name]
    _SOURCES[changed] = source
    places = [owner] if parents else _importers(name, original)
    for place in places:
        setattr(place, name, changed)
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, original)


_SOURCES: Final[dict[Callable[..., Any], str]] = {}
"""Source of functions that were edited, for further edits."""


def _importers(name: str, function: object) -> list[Any]:
    """Return all modules of the worker and the simulation that have imported a function."""
    return [
        module
        for module_name, module in list(sys.modules.items())
        if module_name.startswith(("worker.", "tests.simulation."))
        and getattr(module, name, None) is function
    ]


def found_by(defect: Defect, *, first: int) -> tuple[Schedule, Outcome] | None:
    """Return the first schedule that finds a reverted fix, from a seed on; None if none of many does."""
    tried = 0
    with reverted(defect):
        for seed in count(first):
            schedule = draw(seed)
            if schedule.profile is not defect.profile:
                continue
            outcome = simulate(schedule)
            if outcome.violation is not None and outcome.violation.invariant == defect.invariant:
                return schedule, outcome
            tried += 1
            if tried == _MAX_SEEDS:
                return None
    return None


def main() -> None:
    """Print the first seed that finds each defect."""
    with simulating():
        for defect in DEFECTS:
            found = found_by(defect, first=0)
            print(row(defect, found[0].seed) if found else f"not found: {defect.name}", flush=True)


if __name__ == "__main__":
    main()
