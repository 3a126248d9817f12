"""Builders of valid values; a test passes only the arguments that matter to it."""

from datetime import UTC, datetime, timedelta

from worker.domain.claim import Claimant
from worker.domain.clock import Clock, utc_now
from worker.domain.image import Description, Rendition
from worker.domain.job import Job, SourceVersion, padded_sequencer
from worker.domain.keys import UploadKeyTemplate
from worker.domain.message import Message
from worker.domain.recipe import Recipe, Size, Watermark
from worker.domain.requester import COMMAND_LINE, Requester
from worker.domain.status import StepMove, StepName
from worker.domain.step import Json, StepReport
from worker.domain.transition import (
    Transition,
    image_completed,
    source_described,
    step_ended,
    step_started,
)
from worker.telemetry.metrics import Metrics
from worker.telemetry.observer import Observer
from worker.telemetry.traces import NoTracing

UPLOAD_KEYS = UploadKeyTemplate.parse(prefix="uploads/")
NOON = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)
"""Time at which most tests start."""


def an_observer(metrics: Metrics | None = None, *, clock: Clock = utc_now) -> Observer:
    """Return the observer of a worker that sends no traces."""
    return Observer(metrics or Metrics(), NoTracing(), clock=clock)


def a_requester(command: str = "a command") -> Requester:
    """Return the requester of a repair."""
    return Requester(by="a test", via=COMMAND_LINE, command=command)


def after(seconds: float) -> datetime:
    """Return the time so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def a_job(
    image_id: str = "img_1",
    user_id: str = "user_1",
    *,
    upload: int = 1,
    e_tag: str | None = None,
    uploaded_at: datetime | None = None,
) -> Job:
    """Return the job of an upload; `upload` numbers the uploads of one key in order."""
    at = uploaded_at or after(upload - 10)
    return Job(
        bucket="image-uploads",
        key=f"uploads/{user_id}/{image_id}.jpg",
        user_id=user_id,
        image_id=image_id,
        version=SourceVersion(
            e_tag=e_tag or f"etag-{upload}",
            version_id=None,
            sequencer=padded_sequencer(f"00{upload:08X}"),
            uploaded_at=at,
        ),
        size_bytes=2_048_576,
    )


def a_claimant(
    owner: str = "worker-a/1", *, now: datetime = NOON, lease_s: float = 60, recipe: str = "recipe"
) -> Claimant:
    """Return a claimant with a lease of one minute."""
    return Claimant(owner=owner, now=now, lease_until=now + timedelta(seconds=lease_s), recipe=recipe)


def a_report(step: StepName = StepName.VALIDATION, *, move: StepMove = StepMove.COMPLETED) -> StepReport:
    """Return the report of a step by a decoder process."""
    details: dict[StepName, dict[str, Json]] = {
        StepName.VALIDATION: {"result": "valid", "format": "jpeg"},
        StepName.RESIZE: {
            "dimensions": {
                "original": {"width": 1920, "height": 1080},
                "processed": {"width": 800, "height": 450},
            }
        },
        StepName.WATERMARK: {"watermarkType": "text", "watermarkText": "Processed by Image Platform"},
    }
    metadata = {"camera": "iPhone 12"} if step is StepName.VALIDATION else {}
    return StepReport(step=step, move=move, elapsed_ms=7, detail=details[step], metadata=metadata)


def a_rendition(image_id: str = "img_1", user_id: str = "user_1", *, size_bytes: int = 82_120) -> Rendition:
    """Return a stored rendition of the main size."""
    return Rendition(
        key=f"processed/{user_id}/{image_id}.jpg",
        width=800,
        height=450,
        size_bytes=size_bytes,
        format="jpeg",
        e_tag="result-etag",
    )


def a_description(*, file_size: int = 2_048_576) -> Description:
    """Return the metadata of an uploaded object."""
    return Description(
        file_name="vacation-photo.jpg",
        file_size=file_size,
        file_type="image/jpeg",
        tags=("vacation", "family"),
        metadata={"description": "Family vacation photo"},
    )


def all_transitions(
    image_id: str = "img_1", user_id: str = "user_1", *, file_size: int = 1000, result_bytes: int = 100
) -> list[Transition]:
    """Return every transition of an image from its claim to its completion."""
    first, *others = StepName
    moves: list[Transition] = [
        source_described(a_description(file_size=file_size), at=after(1)),
        step_ended(a_report(first), at=after(2)),
    ]
    for second, step in enumerate(others, start=2):
        moves += [step_started(step, at=after(second)), step_ended(a_report(step), at=after(second + 1))]
    rendition = a_rendition(image_id, user_id, size_bytes=result_bytes)
    return [*moves, image_completed({"medium": rendition}, main_size="medium", at=after(len(StepName) + 2))]


def a_recipe(*, width: int = 800, height: int = 600, text: str | None = "Mark") -> Recipe:
    """Return a recipe of one size."""
    return Recipe(
        sizes=(Size(name="medium", width=width, height=height),),
        watermark=Watermark(text=text) if text else None,
    )


def a_message(body: str = "{}", *, receive_count: int = 1, message_id: str = "message-1") -> Message:
    """Return a received message."""
    return Message(
        message_id=message_id,
        receipt_handle=f"receipt-of-{message_id}",
        body=body,
        receive_count=receive_count,
        sent_at=NOON,
    )
