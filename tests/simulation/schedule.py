"""
What happens in a simulation, as data: drawn from the seed first, then executed.

As data it can be printed, and shrunk: dropping an action leaves the others as they are.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from tests.simulation.network import Fault
from tests.simulation.uploads import CHEAP, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """
    An object is put under the key of an upload, and S3 sends its event.

    Attributes:
        at_s: When.
        upload_id: Identifies its content.
        user: Owner.
        name: Last part of its key: `a.jpg`.
        kind: What it is.
        decode_ms: How long decoding takes.
        events_after_s: When the event arrives; more than one for duplicates.
        event_format: Form of the event.
        with_sequencer: Whether the event contains a sequencer.
        metadata: Number of `x-amz-meta-*` entries.
    """

    at_s: float
    upload_id: str
    user: str
    name: str
    kind: Kind = Kind.GOOD
    decode_ms: int = 200
    events_after_s: tuple[float, ...] = (0.1,)
    event_format: str = "s3"
    with_sequencer: bool = True
    metadata: int = 0

    @property
    def key(self) -> str:
        return f"uploads/{self.user}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldImage:
    """An image that the first version of the worker has processed, with its upload, record and results."""

    at_s: float
    upload: Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteUpload:
    """The object of an upload is deleted."""

    at_s: float
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMessage:
    """A message arrives that is not the event of an upload."""

    at_s: float
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPreferences:
    """A user's preferences are written to the table, as they are."""

    at_s: float
    user: str
    preferences: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """
    A worker is killed with SIGKILL, and started again later.

    Attributes:
        at_s: When; or from when on its requests are counted.
        worker: Number of the worker.
        at_request: The request during which it is killed; None for at once.
        is_applied: Whether that request is applied first.
        restart_after_s: When the next process starts.
    """

    at_s: float
    worker: int
    at_request: int | None = None
    is_applied: bool = False
    restart_after_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """A worker stops where it is (SIGSTOP), and continues later."""

    at_s: float
    worker: int
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A worker is told to shut down (SIGTERM), and started again later."""

    at_s: float
    worker: int
    is_forced: bool = False
    restart_after_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A share of the requests to a service suffer a fault for a while; with a share of 1, an outage."""

    at_s: float
    for_s: float
    service: str
    fault: Fault
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowHeartbeats:
    """From now on, until the end, each change of a visibility timeout is made at once and responded late."""

    at_s: float
    response_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """
    The table is restored, as DynamoDB does it: to a new table, which the workers use after a restart.

    Attributes:
        at_s: When the operator begins.
        to_s: Time of the backup.
        is_rolling: Whether the workers run until they are replaced one after another; otherwise all of them
            are stopped first, as the runbook says.
    """

    at_s: float
    to_s: float
    is_rolling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecord:
    """The record of an upload's key is deleted, as by its `ttl`."""

    at_s: float
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatEvent:
    """The last event of an upload arrives again, much later."""

    at_s: float
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """
    A repair tool runs.

    Attributes:
        at_s: When.
        command: `retry`, `reprocess`, `reconcile`, `redrive` or `enqueue`.
        killed_at_request: The request at which it is killed; None if it is not.
    """

    at_s: float
    command: str
    killed_at_request: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteImage:
    """
    An image is deleted by `image-worker images delete`.

    Attributes:
        at_s: When.
        key: Key of its upload.
        killed_at_request: The request at which the command is killed; None if it is not.
    """

    at_s: float
    key: str
    killed_at_request: int | None = None


Action: TypeAlias = (
    Upload
    | OldImage
    | DeleteUpload
    | SendMessage
    | SetPreferences
    | Kill
    | Suspend
    | Drain
    | Trouble
    | SlowHeartbeats
    | Restore
    | DeleteRecord
    | RepeatEvent
    | Repair
    | DeleteImage
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """
    A worker.

    Attributes:
        clock_offset_s: Difference of its clock from the true time.
        version: Version of its code and settings: 1 or 2.
        decoders: Number of its decoders.
    """

    clock_offset_s: float = 0.0
    version: int = 1
    decoders: int = 2


class Profile(StrEnum):
    """What a schedule is about."""

    CALM = "calm"
    BLIPS = "blips"
    HEARTBEATS = "heartbeats"
    HOSTILE = "hostile"
    KILLERS = "killers"
    FAULTS = "faults"
    CRASHES = "crashes"
    CLOCKS = "clocks"
    OPERATORS = "operators"
    RESTORES = "restores"
    REPLACEMENTS = "replacements"
    DELETIONS = "deletions"
    """Not drawn by `draw`, but by `tests/simulation/test_deletions.py`."""
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A simulation before it runs."""

    seed: int
    profile: Profile
    workers: tuple[WorkerPlan, ...]
    actions: tuple[Action, ...]
    is_versioned: bool = False
    duplicate_share: float = 0.0

    @property
    def uploads(self) -> list[Upload]:
        return [action for action in self.actions if isinstance(action, Upload)]

    def with_actions(self, actions: Sequence[Action]) -> "Schedule":
        return replace(self, actions=tuple(actions))


_PROFILES: Final[Sequence[Profile]] = (
    Profile.CALM,
    Profile.BLIPS,
    Profile.HEARTBEATS,
    Profile.HOSTILE,
    Profile.HOSTILE,
    Profile.KILLERS,
    Profile.FAULTS,
    Profile.FAULTS,
    Profile.CRASHES,
    Profile.CRASHES,
    Profile.CRASHES,
    Profile.CLOCKS,
    Profile.OPERATORS,
    Profile.RESTORES,
    Profile.REPLACEMENTS,
    Profile.CALM,
    Profile.EVERYTHING,
)
_UNDISTURBED: Final = {Profile.HOSTILE, Profile.BLIPS, Profile.HEARTBEATS}
_USERS: Final = ("ann", "bob")
_SPAN_S: Final = 20.0
"""Uploads arrive during this time; faults may last longer."""


def draw(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    return _Draw(seed).schedule()


@dataclass
class _Draw:
    """Draws a schedule; `enabled` are the parts of the profile."""

    seed: int
    actions: list[Action] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.profile = self.random.choice(_PROFILES)
        self._number = 0
        self._times: dict[tuple[str, str], list[float]] = {}

    @property
    def apart_s(self) -> float:
        """
        Least time between two uploads of one key.

        S3 lists whole seconds, from which the repair tools have to find the newer one.
        """
        return 1.2 if {_repairs, _restores} & set(_PARTS[self.profile]) else 0.02

    def schedule(self) -> Schedule:
        parts = _PARTS[self.profile]
        count = self.random.choice((1, 1, 2, 2, 3))
        workers = [WorkerPlan(decoders=self.random.choice((1, 2))) for _ in range(count)]
        for part in parts:
            part(self, workers)
        self.actions.sort(key=lambda action: action.at_s)
        return Schedule(
            seed=self.seed,
            profile=self.profile,
            workers=tuple(workers),
            actions=tuple(self.actions),
            is_versioned=self.random.random() < 0.25,
            # Without them where the times of two runs are compared: a duplicate may have to wait for a lease.
            duplicate_share=self.random.choice((0.0, 0.0, 0.1, 0.3)) * (self.profile not in _UNDISTURBED),
        )

    def add(self, action: Action) -> None:
        self.actions.append(action)

    def time(self, *, after_s: float = 1.0, within_s: float = _SPAN_S) -> float:
        return round(after_s + self.random.random() * within_s, 3)

    def upload(
        self, kind: Kind, *, at_s: float | None = None, name: str | None = None, user: str | None = None
    ) -> Upload:
        self._number += 1
        number = self._number
        if kind is Kind.LONG_KEY:
            user = user or self.random.choice(_USERS)
            name = f"{number}-".ljust(1024 - len(f"uploads/{user}/"), "k")
        elif kind is Kind.ODD_NAME:
            name = f"{number}\x1b[31m\u202egpj.\x85.jpg"
        elif kind is Kind.DOT_SEGMENTS:
            name = f"{number}/../../../{number}.jpg"
        user, name = user or self.random.choice(_USERS), name or f"{number}.jpg"
        at_s = self.time() if at_s is None else at_s
        while any(abs(at_s - other_s) < self.apart_s for other_s in self._times.setdefault((user, name), [])):
            at_s = round(at_s + self.apart_s, 3)
        self._times[user, name].append(at_s)
        upload = Upload(
            at_s=at_s,
            upload_id=f"u{number}",
            user=user,
            name=name,
            kind=kind,
            decode_ms=88_000 if kind is Kind.SLOW else self.random.choice((20, 100, 400, 1500)),
            events_after_s=self._events(),
            event_format=self.random.choice(("s3", "s3", "eventbridge", "sns")),
            with_sequencer=self.random.random() < 0.9,
            metadata=self.random.choice((0, 0, 0, 0, 3, 3, 3, 200)),
        )
        self.add(upload)
        return upload

    def _events(self) -> tuple[float, ...]:
        delays = [self.random.choice((0.05, 0.2, 1.0, 5.0))]
        if self.random.random() < 0.15:
            delays.append(delays[0] + self.random.choice((0.0, 0.5, 10.0, 90.0)))
        return tuple(delays)


_Part: TypeAlias = Callable[[_Draw, list[WorkerPlan]], None]


def _good(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    for _ in range(draw.random.randint(2, 4)):
        draw.upload(Kind.GOOD)


def _old(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """Images that the first version processed; some are replaced, some have a name like their results."""
    for _ in range(draw.random.choice((0, 1, 2))):
        upload = draw.upload(Kind.GOOD, at_s=0.0)
        draw.actions.remove(upload)
        draw.add(OldImage(at_s=0.0, upload=upload))
        match draw.random.choice(("replaced", "replaced", "kept", "similar name", "deleted")):
            case "replaced":
                draw.upload(Kind.GOOD, name=upload.name, user=upload.user)
            case "similar name":
                stem, _, _ = upload.name.rpartition(".")
                draw.upload(Kind.GOOD, name=f"{stem}_thumbnail.jpg", user=upload.user)
            case "deleted":
                draw.add(DeleteUpload(at_s=draw.time(), key=upload.key))
            case _:
                pass


def _replaced(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """Some uploads are replaced, some under another extension of the same image, some deleted."""
    for upload in [action for action in draw.actions if isinstance(action, Upload)]:
        chance = draw.random.random()
        if upload.kind is not Kind.GOOD or chance > 0.5:
            continue
        at_s = round(upload.at_s + draw.random.choice((0.02, 0.3, 1.5, 3.0, 8.0)), 3)
        kind = draw.random.choice((Kind.GOOD, Kind.GOOD, Kind.CORRUPT))
        stem, _, _ = upload.name.rpartition(".")
        # After its record was deleted, an image id can be taken over by the upload of another extension.
        can_share_stem = draw.profile is not Profile.RESTORES
        if chance < 0.3:
            draw.upload(kind, at_s=at_s, name=upload.name, user=upload.user)
        elif chance < 0.4 and can_share_stem:
            draw.upload(kind, at_s=at_s, name=f"{stem}.png", user=upload.user)
        else:
            draw.add(DeleteUpload(at_s=at_s, key=upload.key))


def _colliding(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """Uploads whose names are those of another image's results, now or in earlier versions."""
    for upload in [action for action in draw.actions if isinstance(action, Upload)]:
        if upload.kind is Kind.GOOD and draw.random.random() < 0.2:
            stem, _, extension = upload.name.rpartition(".")
            separator = draw.random.choice("_@")
            draw.upload(Kind.GOOD, name=f"{stem}{separator}thumbnail.{extension}", user=upload.user)


def _hostile(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """As many hostile uploads as good ones, of kinds that take no time of a decoder."""
    good = len([action for action in draw.actions if isinstance(action, Upload)])
    if draw.random.random() < 0.4:  # all of one kind at once, and all other uploads after them
        kind = draw.random.choice(CHEAP)
        for number in range(good):
            draw.upload(kind, at_s=0.5 + 0.05 * number)
        return
    for _ in range(draw.random.randint(1, good)):
        draw.upload(draw.random.choice(CHEAP))


def _slow(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    for _ in range(draw.random.randint(0, 2)):
        draw.upload(draw.random.choice((Kind.HANGING, Kind.OUT_OF_MEMORY, Kind.SLOW, Kind.TAKEOVER)))


def _killers(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    for _ in range(draw.random.choice((1, 1, 2))):
        draw.upload(Kind.KILLER, at_s=draw.time(within_s=5))


def _messages(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    bodies = [
        "",
        "null",
        "[]" * 3,
        "{}",
        '{"Event": "s3:TestEvent"}',
        '{"Records": 7}',
        '{"Records": [{}, 7, null]}',
        '{"Records": [{"eventVersion": "2.1", "eventName": "ObjectRemoved:Delete", "s3": {}}]}',
        '{"version": 1, "bucket": "image-uploads", "key": "uploads/ann/../../x.jpg"}',
        '{"version": 1, "bucket": "image-uploads", "key": "uploads/ann/user_profile.jpg"}',
        '{"version": 1, "bucket": "other", "key": "uploads/ann/x.jpg"}',
        '{"version": 99, "bucket": "image-uploads", "key": "uploads/ann/x.jpg"}',
        "[" * 3000,
    ]
    for _ in range(draw.random.randint(0, 3)):
        draw.add(SendMessage(at_s=draw.time(), body=draw.random.choice(bodies)))


def _preferences(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    chosen: list[dict[str, Any]] = [
        {"watermarkText": "mine"},
        {"watermarkText": "x" * 70_000},
        {"watermarkImage": "k" * 1100},
        {"watermarkImage": "missing.png"},
        {"defaultImageSize": "large"},
        {"watermarkEnabled": False},
        {"watermarkEnabled": "yes", "defaultImageSize": 7},
    ]
    if draw.random.random() < 0.5:
        draw.add(
            SetPreferences(
                at_s=draw.time(after_s=0, within_s=5),
                user=draw.random.choice(_USERS),
                preferences=draw.random.choice(chosen),
            )
        )


SERVICE_FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "dynamodb": (
        Fault.SERVER_ERROR,
        Fault.THROTTLED,
        Fault.REFUSED,
        Fault.REQUEST_LOST,
        Fault.RESPONSE_LOST,
        Fault.SLOW,
        Fault.CONFLICT,
        Fault.STALE_READ,
    ),
    "s3": (
        Fault.SERVER_ERROR,
        Fault.THROTTLED,
        Fault.REFUSED,
        Fault.REQUEST_LOST,
        Fault.RESPONSE_LOST,
        Fault.SLOW,
        Fault.CONFLICT,
        Fault.BODY_CUT,
        Fault.BODY_STALLED,
        Fault.CHECKSUM,
        Fault.REDIRECT,
    ),
    "sqs": (
        Fault.SERVER_ERROR,
        Fault.THROTTLED,
        Fault.REFUSED,
        Fault.REQUEST_LOST,
        Fault.RESPONSE_LOST,
        Fault.SLOW,
        Fault.PARTIAL,
        Fault.ODD_RESPONSE,
    ),
}


def _troubles(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """Faults that hit some requests, for the whole time."""
    for _ in range(draw.random.randint(1, 4)):
        service = draw.random.choice(tuple(SERVICE_FAULTS))
        draw.add(
            Trouble(
                at_s=draw.time(within_s=5),
                for_s=draw.random.choice((10.0, 40.0, 120.0)),
                service=service,
                fault=draw.random.choice(SERVICE_FAULTS[service]),
                share=draw.random.choice((0.02, 0.1, 0.3)),
            )
        )


def _blips(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """Single requests fail in ways that a retry resolves at once."""
    for service, faults in (
        ("s3", (Fault.SERVER_ERROR, Fault.REFUSED, Fault.CHECKSUM, Fault.REDIRECT, Fault.BODY_CUT)),
        ("dynamodb", (Fault.SERVER_ERROR, Fault.REFUSED, Fault.THROTTLED, Fault.CONFLICT)),
    ):
        fault = draw.random.choice(faults)
        draw.add(Trouble(at_s=0.5, for_s=30.0, service=service, fault=fault, share=0.08))


def _late_heartbeats(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    draw.upload(Kind.SLOW)
    draw.add(SlowHeartbeats(at_s=0.0, response_s=draw.random.choice((10.0, 21.0, 35.0))))


def _outages(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """All requests to a service fail for a while."""
    for _ in range(draw.random.choice((1, 1, 2))):
        service = draw.random.choice(tuple(SERVICE_FAULTS))
        faults = [Fault.SERVER_ERROR, Fault.THROTTLED, Fault.REFUSED, Fault.REQUEST_LOST, Fault.RESPONSE_LOST]
        draw.add(
            Trouble(
                at_s=draw.time(),
                for_s=draw.random.choice((2.0, 10.0, 30.0)),
                service=service,
                fault=draw.random.choice(faults),
                share=1.0,
            )
        )


def _crashes(draw: _Draw, workers: list[WorkerPlan]) -> None:
    for _ in range(draw.random.choice((1, 1, 2, 3))):
        worker = draw.random.randrange(len(workers))
        at_s = draw.time()
        match draw.random.choice(("kill", "kill at a request", "kill at a request", "suspend", "drain")):
            case "kill":
                draw.add(Kill(at_s=at_s, worker=worker, restart_after_s=draw.random.choice((1.0, 20.0))))
            case "kill at a request":
                draw.add(
                    Kill(
                        at_s=at_s,
                        worker=worker,
                        at_request=draw.random.randint(1, 25),
                        is_applied=draw.random.random() < 0.6,
                        restart_after_s=draw.random.choice((1.0, 20.0)),
                    )
                )
            case "suspend":
                draw.add(
                    Suspend(at_s=at_s, worker=worker, for_s=draw.random.choice((2.0, 25.0, 70.0, 200.0)))
                )
            case _:
                draw.add(Drain(at_s=at_s, worker=worker, is_forced=draw.random.random() < 0.3))


def _clocks(draw: _Draw, workers: list[WorkerPlan]) -> None:
    for number, plan in enumerate(workers):
        offset_s = draw.random.choice((-3600.0, -90.0, -5.0, -0.5, 0.0, 0.5, 5.0, 90.0, 3600.0))
        workers[number] = replace(plan, clock_offset_s=offset_s)


def _small_clock_offsets(draw: _Draw, workers: list[WorkerPlan]) -> None:
    for number, plan in enumerate(workers):
        workers[number] = replace(plan, clock_offset_s=draw.random.choice((-2.0, -0.1, 0.0, 0.1, 2.0)))


def _versions(draw: _Draw, workers: list[WorkerPlan]) -> None:
    for number, plan in enumerate(workers):
        workers[number] = replace(plan, version=draw.random.choice((1, 1, 2)))


def _repairs(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    for _ in range(draw.random.randint(1, 3)):
        draw.add(
            Repair(
                at_s=draw.time(within_s=60),
                command=draw.random.choice(("retry", "reprocess", "reconcile", "redrive", "enqueue")),
                killed_at_request=draw.random.choice((None, None, draw.random.randint(1, 12))),
            )
        )


def _restores(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    uploads = [action for action in draw.actions if isinstance(action, Upload) and action.kind is Kind.GOOD]
    at_s = draw.time(after_s=17)
    victim = draw.random.choice(uploads)
    for number in range(draw.random.choice((0, 2, 8))):  # so that its results are of a later attempt
        draw.upload(Kind.GOOD, at_s=at_s - 1.3 * (number + 1), name=victim.name, user=victim.user)
    match draw.random.choice(
        ("restore", "rolling restore", "delete", "delete", "delete in flight", "repeat")
    ):
        case "restore" | "rolling restore" as how:
            to_s = round(at_s * draw.random.random(), 3)
            draw.add(Restore(at_s=at_s, to_s=to_s, is_rolling=how == "rolling restore"))
            if draw.random.random() < 0.5:  # so that there are other results than the restored records name
                draw.add(Repair(at_s=round((to_s + at_s) / 2, 3), command="reprocess"))
        case "delete":
            _delete_record(draw, victim, at_s)
        case "delete in flight":
            _delete_record_in_flight(draw, at_s)
        case _:
            _delete_record(draw, victim, at_s)
            draw.add(RepeatEvent(at_s=at_s + draw.random.choice((0.5, 30.0)), key=victim.key))
    for upload in {
        victim.key: victim,
        **{each.key: each for each in draw.random.sample(uploads, k=2)},
    }.values():
        draw.upload(
            Kind.GOOD, at_s=at_s + draw.random.choice((0.5, 5.0, 30.0)), name=upload.name, user=upload.user
        )


def _delete_record_in_flight(draw: _Draw, at_s: float) -> None:
    """A record is deleted during its second attempt; the one of the next upload ends before that one does."""
    corrupt = draw.upload(Kind.CORRUPT, at_s=at_s - 8)
    for upload_s, decode_ms in ((at_s - 1.1, 1500), (at_s + 0.1, 20)):
        upload = draw.upload(Kind.GOOD, at_s=upload_s, name=corrupt.name, user=corrupt.user)
        draw.actions[-1] = replace(upload, decode_ms=decode_ms, events_after_s=(0.05,))
    _delete_record(draw, corrupt, at_s)


def _delete_record(draw: _Draw, upload: Upload, at_s: float) -> None:
    draw.add(DeleteRecord(at_s=at_s, key=upload.key))


def _avatar(draw: _Draw, _workers: list[WorkerPlan]) -> None:
    """One key is replaced again and again."""
    for number in range(draw.random.randint(18, 24)):
        draw.upload(Kind.GOOD, at_s=1 + 0.8 * number, name="avatar.jpg", user="ann")


_PARTS: Final[Mapping[Profile, Sequence[_Part]]] = {
    Profile.CALM: (_good, _replaced, _messages, _small_clock_offsets),
    Profile.BLIPS: (_good, _blips),
    Profile.HEARTBEATS: (_good, _late_heartbeats),
    Profile.HOSTILE: (_good, _hostile, _messages, _preferences),
    Profile.KILLERS: (_good, _killers),
    Profile.FAULTS: (_good, _replaced, _slow, _troubles, _outages, _small_clock_offsets),
    Profile.CRASHES: (_good, _old, _replaced, _slow, _crashes, _versions, _small_clock_offsets),
    Profile.CLOCKS: (_good, _replaced, _crashes, _clocks),
    Profile.OPERATORS: (_good, _old, _hostile, _repairs, _small_clock_offsets),
    Profile.RESTORES: (_good, _old, _replaced, _versions, _restores),
    Profile.REPLACEMENTS: (_avatar, _versions),
    Profile.EVERYTHING: (
        _good,
        _old,
        _replaced,
        _colliding,
        _hostile,
        _slow,
        _messages,
        _preferences,
        _troubles,
        _outages,
        _crashes,
        _versions,
        _repairs,
        _small_clock_offsets,
    ),
}
