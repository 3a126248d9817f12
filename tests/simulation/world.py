"""Execute a schedule: one simulated world, from its first event until nothing is left to do."""

import gc
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote_plus

from botocore.exceptions import BotoCoreError, ClientError

from tests.simulation import determinism, fleet
from tests.simulation.chance import Chance
from tests.simulation.dynamodb import DynamoDB, Key, Write
from tests.simulation.fleet import MAX_RECEIVES, Simulated, clients_of, run_worker, settings
from tests.simulation.invariants import Oracle, Violation
from tests.simulation.loop import ProcessLoop, Scheduler, SimulatedTask, without_registry
from tests.simulation.network import Network, Request, Weather
from tests.simulation.old_records import old_item, old_origin, old_results, with_counted
from tests.simulation.s3 import BUCKET, S3, Deletion, Put, Stored
from tests.simulation.schedule import (
    Action,
    DeleteImage,
    DeleteRecord,
    DeleteUpload,
    Drain,
    Kill,
    OldImage,
    Profile,
    Repair,
    RepeatEvent,
    Restore,
    Schedule,
    SendMessage,
    SetPreferences,
    SlowHeartbeats,
    Suspend,
    Trouble,
    Upload,
    WorkerPlan,
)
from tests.simulation.sqs import QUEUE, SQS, QueuedMessage
from tests.simulation.uploads import EXPECTED, Kind, content_of
from tests.support.builders import a_requester
from worker import bootstrap
from worker.delivery.consumer import Consumer
from worker.delivery.handler import BEING_DELETED
from worker.domain import clock
from worker.domain.errors import ConfigurationError, ImageWorkerError, TransientError
from worker.domain.job import Job
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.message import Message
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import from_item
from worker.repair.deletion import delete_image
from worker.repair.enqueue import enqueue_all
from worker.repair.orphans import MIN_AGE, reconcile_orphans
from worker.repair.reconcile import reconcile_all
from worker.repair.redrive import REDRIVE_VISIBILITY_S, redrive_all
from worker.repair.reprocess import reprocess_all, retry_image
from worker.repair.result_state import reconcile_results
from worker.sqs.events import parse

if TYPE_CHECKING:
    from tests.simulation.expressions import Item

_CHECK_S: Final = 5.0
_MAX_EVENTS: Final = 400_000
_DRAIN_S: Final = 60.0
_UPGRADE_S: Final = 5400.0
"""In which a message that only a newer version can read is received as often as it may be."""

_DEPLOYMENT_S: Final = 20.0
"""Time in which a rolling deployment replaces the workers."""

_EXHAUSTING: Final = {Profile.FAULTS, Profile.CRASHES, Profile.CLOCKS, Profile.EVERYTHING}
"""Profiles in which so much happens that a message may use up its receives."""

_SLACK_S: Final = 4.0
"""Covers repeated events, which may have to wait for another delivery of the same upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What a run showed.

    Attributes:
        violation: The invariant that does not hold; None if all do.
        events: Number of events.
        virtual_s: How long it took in virtual time.
        exercised: How often each kind of fault and action occurred.
        ended_at_s: When each upload ended.
        digest: Depends on every write and every response, to compare two runs.
    """

    violation: Violation | None
    events: int
    virtual_s: float
    exercised: Counter[str]
    ended_at_s: dict[str, float]
    digest: int


@dataclass
class _Worker:
    """A worker: its plan, and the process that runs now."""

    plan: WorkerPlan
    number: int
    starts: int = 0
    process: ProcessLoop | None = None
    task: SimulatedTask | None = None
    consumer: Consumer | None = None
    has_received: bool = False
    is_stopping: bool = False
    kill_in: int | None = None
    kill: Kill | None = None

    @property
    def is_running(self) -> bool:
        if self.process is None or self.task is None:
            return False
        return not (self.process.is_dead or self.task.done())


class _Reporter:
    """Implements `worker.repair.context.Reporter`."""

    def __init__(self, trace: Callable[[str], None], on_failure: Callable[[str], None]) -> None:
        self._trace, self._on_failure = trace, on_failure

    def done(self, action: str, *, image_id: str, user_id: str) -> None:
        self._trace(f"{action} {image_id}")

    def skipped(self, reason: str) -> None:
        self._trace(f"skipped: {reason}")

    def found(self, what: str, *, key: str) -> None:
        self._trace(f"{what}: {key}")

    removed = found

    def failed(self, subject: str, message: str) -> None:
        self._trace(f"failed {subject}: {message}")
        self._on_failure(subject)


class World:
    """
    A world: the services, the workers, and what happens to them.

    Args:
        schedule: What happens.
        trace: Called with each line of the trace; None for none.
    """

    def __init__(self, schedule: Schedule, trace: Callable[[str], None] | None = None) -> None:
        self.schedule = schedule
        self._trace_line = trace
        self.chance = Chance(schedule.seed)
        self.scheduler = Scheduler(self.chance)
        self.oracle = Oracle(self.scheduler)
        self.network = Network(
            self.scheduler,
            self.chance,
            on_sent=self._sent,
            on_applied=self._applied,
            on_response=self._responded,
        )
        self._tables = count(1)
        self.table = self._new_table({})
        self.bucket = S3(
            self.scheduler,
            versioned=schedule.is_versioned,
            on_put=self._guarded(self._put),
            on_delete=self._guarded(self._object_deleted),
        )
        self.sqs = SQS(
            self.scheduler,
            self.chance,
            self.network,
            max_receives=settings(1, 1).queue_receives,
            on_event=self._queue_event,
        )
        self.sqs.duplicate_share = schedule.duplicate_share
        self.oracle.table, self.oracle.bucket = self.table, self.bucket
        self.workers = [_Worker(plan, number) for number, plan in enumerate(schedule.workers)]
        self.violation: Violation | None = None
        self.exercised: Counter[str] = Counter()
        self._events_of: dict[str, str] = {}  # last event by key
        self._exhausted: set[str] = set()
        self._deleted_uploads: set[str] = set()
        self._reported: set[str] = set()  # what the last repair tool could not repair
        self._snapshots: dict[float, dict[Key, Item]] = {}
        self._sequencers = count(1)
        self._repairs = count(1)
        self._calls_of_repair: dict[ProcessLoop, int] = {}
        self._processes_of_old_table: set[ProcessLoop] = set()
        # A record that was deleted counts its image again if its results are stored under other keys. In the
        # other half of the seeds, results are replaced in their place.
        is_counted = not any(isinstance(each, DeleteRecord) for each in schedule.actions)
        self._moves_results = is_counted and schedule.seed % 2 == 1
        self._is_over = self._is_stopped = False
        self._needs_repair = False
        self.digest = 0

    # Running.

    def run(self) -> Outcome:
        """Run the schedule until nothing is left to do, and check the invariants."""
        Simulated.chance, Simulated.kill = self.chance, self._kill_process
        determinism.begin(self.scheduler, self.chance)
        gc_was_on = gc.isenabled()
        gc.disable()
        try:
            self._run()
        except Violation as violation:
            self._violated(violation)
        finally:
            outcome = Outcome(
                violation=self.violation,
                events=self.scheduler.events,
                virtual_s=self.scheduler.now_s,
                exercised=self.exercised
                + Counter(
                    {
                        f"{service}: {fault}": times
                        for (service, fault), times in self.network.exercised.items()
                    }
                ),
                ended_at_s=self.oracle.ended_at_s,
                digest=self.digest,
            )
            self.scheduler.close()
            if gc_was_on:
                gc.enable()
        return outcome

    def _run(self) -> None:
        for worker in self.workers:
            self._start(worker)
        for action in self.schedule.actions:
            if isinstance(action, Restore):
                self.scheduler.at(action.to_s, self._snapshot, action.to_s)
            self.scheduler.at(action.at_s, self._act, action)
        self._advance(until_s=max((_end_of(action) for action in self.schedule.actions), default=0.0))
        self._end_faults()
        self._settle(within_s=self._bound_s())
        if self._needs_repair:
            self._repair_everything()
        if not any(isinstance(action, Suspend) for action in self.schedule.actions):
            self.oracle.check_orphans()
        if self.oracle.unnamed_results():
            self._operate("reconcile --orphans")
        if self.oracle.leftovers():
            self._operate("reconcile --objects")
        self._check_final()
        self._shut_down()

    def _advance(self, *, until_s: float) -> None:
        is_done = self.scheduler.run(until_s=until_s, max_events=_MAX_EVENTS)
        if self.violation is not None:
            raise self.violation
        if not is_done:
            raise Violation("everything comes to an end", f"{_MAX_EVENTS:,} events, and no end")

    def _end_faults(self) -> None:
        self.trace("all faults end")
        self.network.weather.clear()
        self.sqs.duplicate_share = 0.0
        for worker in self.workers:
            worker.kill_in = None
            if worker.process is not None:
                worker.process.resume()

    def _bound_s(self) -> float:
        """Return the time in which everything must end after the faults have."""
        killers = sum(upload.kind is Kind.KILLER for upload in self.schedule.uploads)
        waits = any('version": 99' in getattr(action, "body", "") for action in self.schedule.actions)
        return 700.0 + 600.0 * killers + (_UPGRADE_S if waits else 0)

    def _settle(self, *, within_s: float) -> None:
        deadline_s = self.scheduler.now_s + within_s
        while (left := self._left()) is not None:
            if self.scheduler.now_s >= deadline_s:
                raise Violation("everything ends in time", f"after {within_s:.0f} s: {left}")
            self._advance(until_s=min(self.scheduler.now_s + _CHECK_S, deadline_s))

    def _left(self) -> str | None:
        """Return what is still to be done."""
        for message in self.sqs.queue.messages.values():
            return f"{message.message_id} is in the queue after {message.receives} receives"
        for key, item in self.table.items.items():
            if key[0] != PROFILE_IMAGE_ID and not self._needs_repair:
                status = item["status"]["S"]
                if status in {ImageStatus.PENDING, ImageStatus.PROCESSING}:
                    return f"{key[0]} of {key[1]} is {status}, and there is no message for it"
        if self._calls_of_repair and not all(process.is_dead for process in self._calls_of_repair):
            return "a repair tool runs"
        return None

    def _repair_everything(self) -> None:
        """Do what the runbook says after a restore, or after a repair tool was killed."""
        self.trace("the operator repairs what is left")
        self._advance(until_s=self.scheduler.now_s + fleet.LEASE_S + 1)
        deletions = ("delete", "redrive being deleted") if self.schedule.profile is Profile.DELETIONS else ()
        for command in (*deletions, "redrive", "enqueue", "reconcile --objects"):
            self._reported.clear()
            self._start_repair(Repair(at_s=self.scheduler.now_s, command=command))
            self._settle(within_s=self._bound_s())
        self._needs_repair = False
        self._settle(within_s=self._bound_s())

    def _operate(self, command: str) -> None:
        """Run a repair tool to its end, as an operator may at any time."""
        self.trace(f"the operator runs {command}")
        self._start_repair(Repair(at_s=self.scheduler.now_s, command=command))
        self._settle(within_s=self._bound_s())

    def _check_final(self) -> None:
        for leftover in self.oracle.leftovers():
            raise Violation("what is left over is deleted", leftover)
        self.oracle.final(
            strict=self.schedule.profile not in _EXHAUSTING,
            exhausted=self._exhausted,
            deleted_uploads=self._deleted_uploads,
            reported=self._reported,
        )
        if self.schedule.profile is Profile.BLIPS:
            self.oracle.check_single_attempts()
        for message in self.sqs.dead_letters.messages.values():
            self._check_dead_letter(message)

    def _check_dead_letter(self, message: QueuedMessage) -> None:
        if "code" in message.attributes:
            return
        for part in parse(_as_message(message), bootstrap.key_layout(settings(1, 1))):
            key = self.oracle.records.get(part.key) if isinstance(part, Job) else None
            item = self.table.items.get(key) if key else None
            if item is None or from_item(decode_map(item)).status not in TERMINAL_STATUSES:
                what = f"{message.message_id} ({message.about}) after {message.receives} receives"
                raise Violation("a dead letter has a reason", what)

    def _shut_down(self) -> None:
        """Drain all workers; each must end by itself, with no task left."""
        for worker in self.workers:
            worker.is_stopping = True
            if worker.consumer is not None and worker.process is not None:
                worker.process.call_soon(worker.consumer.stop)
        self._is_over = True
        self._advance(until_s=self.scheduler.now_s + _DRAIN_S)
        for worker in self.workers:
            process = worker.process
            if process is None or process.is_dead or worker.task is None:
                continue
            if not worker.task.done():
                raise Violation("a worker shuts down in time", f"{process.name} is still running")
            for error in process.unretrieved_errors():
                raise Violation("every error is handled", f"{process.name}: {error}")
            left = [task.get_name() for task in process.tasks if not task.done()]
            if left:
                raise Violation("every task is owned", f"{process.name} leaves {', '.join(left)}")

    # Processes.

    def _start(self, worker: _Worker) -> None:
        if self._is_over or self._is_stopped or worker.is_running:
            return
        worker.starts += 1
        name = f"w{worker.number}-{worker.starts}"
        process = ProcessLoop(self.scheduler, name, clock_offset_s=worker.plan.clock_offset_s)
        worker.process, worker.consumer, worker.has_received, worker.is_stopping = process, None, False, False
        worker.kill_in = None
        clients = clients_of(self.network, process, s3=self.bucket, sqs=self.sqs, dynamodb=self.table)
        of = settings(worker.plan.version, worker.plan.decoders, moves_results=self._moves_results)

        def started(consumer: Consumer) -> None:
            worker.consumer = consumer
            if worker.is_stopping:
                consumer.stop()

        worker.task = process.start(run_worker(clients, of, started), name=name)
        worker.task.add_done_callback(partial(self._ended, worker))
        self.trace(f"{name} starts")
        if self.scheduler.current is None and not process.is_suspended:
            self.scheduler.drain()

    def _ended(self, worker: _Worker, task: Any) -> None:
        process = worker.process
        assert process
        error = task.exception()
        self.trace(f"{process.name} ends: {error!r}")
        if worker.is_stopping and error is None:
            if not self._is_over:
                self.scheduler.after(2.0, self._start, worker)
            return
        is_set_up_failure = isinstance(error, ImageWorkerError | ClientError | BotoCoreError)
        if worker.has_received or not (is_set_up_failure or self.network.weather):
            self._violated(Violation("a worker runs until it is stopped", f"{process.name}: {error!r}"))
            return
        process.kill()  # the set-up failed: the orchestrator starts it again
        self.scheduler.after(5.0, self._start, worker)

    def _kill(self, worker: _Worker, restart_after_s: float) -> None:
        process = worker.process
        if process is None or not worker.is_running:
            return  # one that has ended is started again anyway
        self.trace(f"{process.name} is killed")
        process.kill()
        self.scheduler.after(restart_after_s, self._start, worker)

    def _kill_process(self, process: ProcessLoop) -> None:
        """Kill a worker from inside: its image did it."""
        self.exercised["killed by an image"] += 1
        self._kill(next(worker for worker in self.workers if worker.process is process), 3.0)

    # Actions.

    def _act(self, action: Action) -> None:
        if self._trace_line is not None:
            self.trace(describe(action))
        self.exercised[type(action).__name__] += 1
        self._ACTS[type(action)](self, action)

    def _delete_upload(self, action: DeleteUpload) -> None:
        self.bucket.delete(action.key)
        self._deleted_uploads.add(action.key)

    def _send_message(self, action: SendMessage) -> None:
        self.sqs.send(QUEUE, action.body)

    def _suspend(self, action: Suspend) -> None:
        process = self.workers[action.worker % len(self.workers)].process
        if process is not None and not process.is_dead:
            process.suspend()
            self.scheduler.after(action.for_s, self._resume, process)

    def _begin_trouble(self, action: Trouble) -> None:
        weather = Weather(action.service, action.fault, action.share)
        self.network.weather.append(weather)
        self.scheduler.after(action.for_s, self._end_trouble, weather)

    def _slow_heartbeats(self, action: SlowHeartbeats) -> None:
        self.network.response_s["change_message_visibility_batch"] = action.response_s

    def _restore(self, action: Restore) -> None:
        if action.is_rolling:
            self._create_restored_table(action)
            for worker in self.workers:
                after_s = self.chance.between(0.0, _DEPLOYMENT_S, "deployment")
                self.scheduler.after(after_s, self._stop, worker)
            return
        self._is_stopped = True
        for worker in self.workers:
            self._stop(worker)
        self.scheduler.after(fleet.LEASE_S, self._restore_and_start, action)

    def _restore_and_start(self, action: Restore) -> None:
        for worker in self.workers:
            if worker.process is not None:
                worker.process.kill()
        self._create_restored_table(action)
        self._is_stopped = False
        for worker in self.workers:
            self._start(worker)

    def _create_restored_table(self, action: Restore) -> None:
        self.trace("the restored table is ready")
        self._processes_of_old_table.update(self.scheduler.processes)
        self.table.abandon()
        self.table = self._new_table(items=self._snapshots.get(action.to_s, {}))
        self.oracle.table_restored(self.table)
        self._needs_repair = True

    def _new_table(self, items: Mapping[Key, "Item"]) -> DynamoDB:
        table_id = f"table-{next(self._tables)}"
        on_write = self._guarded(self._written)
        return DynamoDB(self.scheduler, self.chance, on_write, table_id=table_id, items=items)

    def _delete_record(self, action: DeleteRecord) -> None:
        key = self.oracle.records.get(action.key)
        if key is not None:
            self.oracle.record_deleted(action.key, key, self.table.items[key])
            self.table.delete(key)

    def _repeat_event(self, action: RepeatEvent) -> None:
        if action.key in self._events_of:
            self._send_event(self._events_of[action.key], None)

    def _act_kill(self, action: Kill) -> None:
        worker = self.workers[action.worker % len(self.workers)]
        if action.at_request is None:
            self._kill(worker, action.restart_after_s)
        else:
            worker.kill_in, worker.kill = action.at_request, action

    def _resume(self, process: ProcessLoop) -> None:
        self.trace(f"{process.name} continues")
        process.resume()

    def _end_trouble(self, weather: Weather) -> None:
        if weather in self.network.weather:
            self.network.weather.remove(weather)
            self.trace(f"{weather.service}: {weather.fault} ends")

    def _drain(self, action: Drain) -> None:
        self._stop(self.workers[action.worker % len(self.workers)], is_forced=action.is_forced)

    def _stop(self, worker: _Worker, *, is_forced: bool = False) -> None:
        worker.is_stopping = True
        if worker.consumer is not None and worker.process is not None and not worker.process.is_dead:
            for _ in range(2 if is_forced else 1):
                worker.process.call_soon(worker.consumer.stop)

    def _snapshot(self, at_s: float) -> None:
        self._snapshots[at_s] = self.table.snapshot()

    def _upload(self, upload: Upload) -> None:
        content = content_of(upload.upload_id, upload.kind, decode_ms=upload.decode_ms)
        stored = self.bucket.put(
            upload.key,
            content,
            metadata={f"m{number}": "x" for number in range(upload.metadata)},
            **EXPECTED[upload.kind].stored,
        )
        self._deleted_uploads.discard(upload.key)
        self.oracle.uploaded(upload, stored.e_tag)
        body = self._event(upload, stored)
        self._events_of[upload.key] = body
        for delay_s in upload.events_after_s:
            self.scheduler.after(delay_s, self._send_event, body, upload.upload_id)

    def _old_image(self, action: OldImage) -> None:
        upload = action.upload
        stem, _, _ = upload.name.rpartition(".")
        content = content_of(upload.upload_id, upload.kind, decode_ms=upload.decode_ms)
        e_tag = self.bucket.put(upload.key, content).e_tag
        stored = {
            key: self.bucket.put(key, result, metadata=old_origin(e_tag))
            for key, result in old_results(upload.user, stem, upload.upload_id).items()
        }
        results = {key: (each.e_tag, len(each.content)) for key, each in stored.items()}
        item = old_item(upload.user, stem, key=upload.key, e_tag=e_tag, results=results)
        self.table.items[stem, upload.user] = encode_map(item)
        profile = decode_map(self.table.items.get((PROFILE_IMAGE_ID, upload.user), {}))
        key, counted = with_counted(profile, upload.user, item["countedBytes"])
        self.table.items[key] = encode_map(counted)
        self.oracle.uploaded(upload, e_tag)
        self.oracle.found((stem, upload.user), self.table.items[stem, upload.user])

    def _send_event(self, body: str, upload_id: str | None) -> None:
        self.sqs.send(QUEUE, body, about=upload_id)

    def _event(self, upload: Upload, stored: Stored) -> str:
        at = clock.to_text(clock.to_milliseconds(stored.at))
        sequencer = f"{next(self._sequencers):016X}"
        found: dict[str, Any] = {"eTag": stored.e_tag, "size": len(stored.content)}
        if upload.with_sequencer:
            found["sequencer"] = sequencer
        if stored.version_id:
            found["versionId"] = stored.version_id
        if upload.event_format == "eventbridge":
            found = {"etag": found.pop("eTag"), "key": upload.key, **found}
            if "versionId" in found:
                found["version-id"] = found.pop("versionId")
            detail = {"bucket": {"name": BUCKET}, "object": found}
            return json.dumps({"detail-type": "Object Created", "time": at, "detail": detail})
        record = {
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "eventTime": at,
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(upload.key, safe="/"), **found}},
        }
        body = json.dumps({"Records": [record]})
        return json.dumps({"TopicArn": "t", "Message": body}) if upload.event_format == "sns" else body

    def _set_preferences(self, action: SetPreferences) -> None:
        key = (PROFILE_IMAGE_ID, action.user)
        item = decode_map(self.table.items.get(key, {}))
        item |= {
            "imageId": key[0],
            "userId": key[1],
            "profile": {"preferences": dict(action.preferences)},
        }
        self.table.items[key] = encode_map(item)

    # Repair tools.

    def _start_repair(self, action: Repair) -> None:
        run = self._delete_marked if action.command == "delete" else self._repair
        self._start_tool(action.command, run, killed_at_request=action.killed_at_request)

    def _delete_image(self, action: DeleteImage) -> None:
        key = self.oracle.records.get(action.key)
        if key is not None:
            self._start_tool(
                "delete", partial(self._delete, [key]), killed_at_request=action.killed_at_request
            )

    def _start_tool(
        self,
        command: str,
        run: Callable[[str, Any, ProcessLoop], Coroutine[Any, Any, None]],
        *,
        killed_at_request: int | None,
    ) -> None:
        process = ProcessLoop(self.scheduler, f"cli-{next(self._repairs)}-{command}")
        self._calls_of_repair[process] = killed_at_request or 0
        if killed_at_request:
            self._needs_repair = True
        clients = clients_of(self.network, process, s3=self.bucket, sqs=self.sqs, dynamodb=self.table)
        task = process.start(run(command, clients, process), name=process.name)
        task.add_done_callback(partial(self._repair_ended, process))
        if self.scheduler.current is None:
            self.scheduler.drain()

    def _repair_ended(self, process: ProcessLoop, task: Any) -> None:
        error = task.exception()
        self.trace(f"{process.name} ends: {error!r}")
        if error is not None:
            self._needs_repair = True
        process.kill()
        if error is not None and not isinstance(error, TransientError | ConfigurationError):
            self._violated(Violation("repair tools report errors", f"{process.name}: {error!r}"))

    async def _delete(self, keys: Sequence[Key], _command: str, clients: Any, process: ProcessLoop) -> None:
        reporter = _Reporter(lambda line: self.trace(f"{process.name}: {line}"), self._repair_needed)
        deletions = bootstrap.build_deletions(
            settings(1, 1), clients, requester=a_requester("images delete"), reporter=reporter
        )
        for image_id, user_id in keys:
            image = await deletions.queries.image(image_id, user_id, consistent=True)
            if image is not None:
                await delete_image(deletions, image)

    async def _delete_marked(self, command: str, clients: Any, process: ProcessLoop) -> None:
        marked = [key for key, item in self.table.items.items() if "deletion" in item]
        await self._delete(marked, command, clients, process)

    async def _repair(self, command: str, clients: Any, process: ProcessLoop) -> None:
        of = settings(1, 1)
        reporter = _Reporter(lambda line: self.trace(f"{process.name}: {line}"), self._repair_needed)
        async with bootstrap.open_repairs(
            of, clients, requester=a_requester(command), reporter=reporter, rate_per_s=100.0
        ) as repairs:
            now = clock.utc_now()
            match command:
                case "retry":
                    async for images in repairs.images_with_status(ImageStatus.FAILED):
                        for image in images:
                            await retry_image(repairs, image)
                case "reprocess":
                    await reprocess_all(
                        repairs, user_id=None, status=ImageStatus.COMPLETED, before=now, recipe_changed=False
                    )
                case "reconcile":
                    pending_for = timedelta(minutes=30) if not self._is_quiet else timedelta(0)
                    await reconcile_all(repairs, now=now, pending_for=pending_for)
                case "reconcile --objects":
                    await reconcile_all(repairs, now=now, pending_for=timedelta(0))
                    await reconcile_results(repairs)
                case "reconcile --orphans":
                    await reconcile_orphans(repairs, reporter, now=now + 2 * MIN_AGE, removes=True)
                case "redrive" | "redrive being deleted":
                    letters = await bootstrap.build_dead_letters(
                        clients.sqs, of, visibility_timeout_s=REDRIVE_VISIBILITY_S
                    )
                    code = "unavailable" if command == "redrive" else BEING_DELETED
                    await redrive_all(repairs, letters, image_id=None, code=code, limit=None)
                case "enqueue":
                    await enqueue_all(repairs, prefix="uploads/")

    _ACTS: ClassVar[dict[type[Action], Callable[..., None]]] = {
        Upload: _upload,
        OldImage: _old_image,
        DeleteUpload: _delete_upload,
        SendMessage: _send_message,
        SetPreferences: _set_preferences,
        Kill: _act_kill,
        Suspend: _suspend,
        Drain: _drain,
        Trouble: _begin_trouble,
        SlowHeartbeats: _slow_heartbeats,
        Restore: _restore,
        DeleteRecord: _delete_record,
        RepeatEvent: _repeat_event,
        Repair: _start_repair,
        DeleteImage: _delete_image,
    }

    def _repair_needed(self, subject: str) -> None:
        """Have the operator run `reconcile` at the end, because a tool has reported what it could not do."""
        self._needs_repair = True
        self._reported.add(subject)

    @property
    def _is_quiet(self) -> bool:
        return not self.sqs.queue.messages

    # What the services report.

    def _sent(self, request: Request) -> None:
        sender = request.sender
        left = self._calls_of_repair.get(sender)
        if left:
            self._calls_of_repair[sender] = left - 1
            if left == 1:
                self.exercised["repair tool killed"] += 1
                self.trace(f"{sender.name} is killed")
                sender.kill()
            return
        for worker in self.workers:
            if worker.process is sender and worker.kill_in is not None and worker.kill is not None:
                worker.kill_in -= 1
                if worker.kill_in == 0 and not worker.kill.is_applied:
                    self._kill(worker, worker.kill.restart_after_s)

    def _applied(self, request: Request) -> None:
        for worker in self.workers:
            is_due = worker.kill_in is not None and worker.kill_in <= 0 and worker.process is request.sender
            if is_due and worker.kill is not None:
                self._kill(worker, worker.kill.restart_after_s)

    def _responded(self, request: Request) -> None:
        if request.operation == "receive_message":
            for worker in self.workers:
                if worker.process is request.sender:
                    worker.has_received = True

    def _written(self, writes: list[Write]) -> None:
        self.digest = hash((self.digest, len(writes), round(self.scheduler.now_s * 1e6)))
        if self._trace_line is not None:
            for write in writes:
                self.trace(f"{write.sender.name if write.sender else '-'} writes {_shown(write)}")
        self.oracle.written(writes)

    def _put(self, put: Put) -> None:
        if put.sender is not None:
            self.trace(f"{put.sender.name} stores {put.key} ({put.after.e_tag[:6]})")
        self.oracle.put(put, is_of_old_table=put.sender in self._processes_of_old_table)

    def _object_deleted(self, deletion: Deletion) -> None:
        if deletion.sender is not None:
            self.trace(f"{deletion.sender.name} deletes {deletion.key} ({deletion.before.e_tag[:6]})")
            self.exercised["result deleted"] += 1
        is_of_old_table = deletion.sender in self._processes_of_old_table
        self.oracle.object_deleted(deletion, is_of_old_table=is_of_old_table)

    def _queue_event(self, event: str, message: QueuedMessage) -> None:
        self.digest = hash((self.digest, round(self.scheduler.now_s * 1e6), message.receives))
        upload_id = message.about
        if self._trace_line is not None:
            self.trace(f"{event} {message.message_id} ({upload_id}, receive {message.receives})")
        if event == "received" and message.receives >= MAX_RECEIVES and upload_id is not None:
            self._exhausted.add(upload_id)
        if event == "dead letter":
            self.exercised["dead letter by policy"] += 1

    def _guarded(self, check: Callable[[Any], None]) -> Callable[[Any], None]:
        def guarded(argument: Any) -> None:
            try:
                check(argument)
            except Violation as violation:
                self._violated(violation)

        return guarded

    def _violated(self, violation: Violation) -> None:
        if self.violation is None:
            self.trace(f"VIOLATION {violation}")
            self.violation = violation
        self.scheduler.stop()

    def trace(self, line: str) -> None:
        if self._trace_line is not None:
            self._trace_line(f"{self.scheduler.now_s:10.3f}  {line}")


def _end_of(action: Action) -> float:
    match action:
        case Trouble(at_s=at_s, for_s=for_s) | Suspend(at_s=at_s, for_s=for_s):
            return at_s + for_s
        case Restore(at_s=at_s):
            return at_s + fleet.LEASE_S + 0.1
        case Upload(at_s=at_s, events_after_s=delays):
            return at_s + max(delays, default=0.0) + 0.1
    return action.at_s + 0.1


def describe(action: Action) -> str:
    """Return an action as a line of the trace."""
    fields = ", ".join(
        f"{name}={str(getattr(action, name))[:60]}" for name in action.__slots__ if name != "at_s"
    )
    return f"{type(action).__name__}({fields})"


def _as_message(message: QueuedMessage) -> Message:
    return Message(
        message_id=message.message_id,
        receipt_handle=message.receipt,
        body=message.body,
        receive_count=message.receives,
        sent_at=clock.from_epoch_ms(message.sent_ms),
    )


def _shown(write: Write) -> str:
    if write.key[0] == PROFILE_IMAGE_ID:
        return f"{write.key[0]} of {write.key[1]}"
    if write.after is None:
        return f"{write.key[0]}: deleted"
    after = decode_map(write.after)
    history: Any = after.get("history", [])
    before = len(write.before["history"]["L"]) if write.before else 0
    moves = [f"{entry.get('step', 'image')} {entry['status']}" for entry in history[before:]]
    owner = after.get("leaseOwner", "no lease")
    return f"{write.key[0]}: {after['status']}, attempt {after['attempt']}, {owner}: {'; '.join(moves)}"


@contextmanager
def simulating() -> Iterator[None]:
    """Prepare this process for simulations: replaced telemetry, controlled time and randomness."""
    with fleet.replaced(), determinism.controlled(), without_registry():
        yield


def simulate(schedule: Schedule, trace: Callable[[str], None] | None = None) -> Outcome:
    """Run a schedule inside `simulating`; one with cheap hostile uploads also without these, to compare."""
    outcome = World(schedule, trace).run()
    if outcome.violation is not None or schedule.profile is not Profile.HOSTILE:
        return outcome
    good = [action for action in schedule.actions if isinstance(action, Upload) and action.kind is Kind.GOOD]
    alone = World(schedule.with_actions(good)).run()
    violation = alone.violation or _delayed(schedule, good, alone, outcome)
    if violation is not None and trace is not None:
        trace(f"VIOLATION {violation}")
    return replace(outcome, violation=violation)


def _delayed(schedule: Schedule, good: Sequence[Upload], alone: Outcome, mixed: Outcome) -> Violation | None:
    """Return a violation if hostile uploads have delayed a good one by more than the time of decoders."""
    decoding_s = sum(upload.decode_ms for upload in schedule.uploads) / 1000
    for upload in good:
        if upload.upload_id not in alone.ended_at_s:
            continue  # it was replaced
        began_s = upload.at_s + min(upload.events_after_s)
        alone_s = alone.ended_at_s[upload.upload_id] - began_s
        mixed_s = mixed.ended_at_s[upload.upload_id] - began_s
        if mixed_s > 2 * alone_s + decoding_s + _SLACK_S:
            message = f"{upload.upload_id} took {mixed_s:.1f} s, and {alone_s:.1f} s without hostile uploads"
            return Violation("hostile uploads delay no others", message)
    return None
