"""`image-worker enqueue`: pictures that lie in the bucket, and that nobody has announced."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.report import RATE, DryRunOption, RateOption, Report
from worker.domain.clock import to_milliseconds
from worker.domain.errors import ConfigurationError, TransientError, UnreadableMessageError
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.domain.keys import parse_upload_key
from worker.repair.requests import RepairContext, RequeueRequest, open_repair_context
from worker.repair.source_state import Source, look
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import ListObjectsV2RequestTypeDef, ObjectTypeDef

app = typer.Typer(add_completion=False)

_TOGETHER: Final = 100
_SCHEME: Final = "s3://"


@app.command()
@asynchronous
async def enqueue(
    where: Annotated[str, typer.Argument(metavar="s3://BUCKET/PREFIX", help="What to look through.")],
    *,
    rate: RateOption = RATE,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> int:
    """
    Ask for pictures that lie in the bucket and have no record, or one of an older object.

    For what was uploaded before there was a worker, or while the bucket announced nothing. A picture has no
    record before a worker takes it: repeated too early, this asks once more, which does no harm.

    Exit status 1: some could not be asked for.

    Example: image-worker enqueue s3://image-uploads/uploads/alice/ --dry-run
    """
    settings = start()
    prefix = prefix_of(where, settings)
    with Report("asking", is_dry=dry_run, json=json) as report:
        async with open_repair_context(settings, by="enqueue", rate=rate, report=report) as asking:
            await enqueue_all(asking, prefix=prefix)
    return report.finish()


def prefix_of(where: str, settings: Settings) -> str:
    """
    Return the prefix that is meant.

    Raises:
        ConfigurationError: It is not of the bucket and the uploads that the worker serves.
    """
    bucket, _, prefix = where.removeprefix(_SCHEME).partition("/")
    served = f"{_SCHEME}{settings.bucket}/{settings.uploads_prefix}"
    if not where.startswith(_SCHEME) or not bucket:
        message = f"{where!r} names no place in a bucket: write it as {served}"
        raise ConfigurationError(message)
    if bucket != settings.bucket:
        message = f"this worker serves the bucket {settings.bucket!r}, not {bucket!r}: set WORKER_BUCKET"
        raise ConfigurationError(message)
    if not prefix.startswith(settings.uploads_prefix):
        message = f"{where} lies outside of the uploads: begin with {served}, or set WORKER_UPLOADS_PREFIX"
        raise ConfigurationError(message)
    return prefix


async def enqueue_all(asking: RepairContext, *, prefix: str) -> None:
    """Go through all objects under the prefix and ask for those that are not recorded as they are."""
    async for found in _listed(
        asking.clients.s3, asking.retries.bucket, bucket=asking.settings.bucket, prefix=prefix
    ):
        jobs = [job for one in found if (job := _job(asking, one)) is not None]
        for start_ in range(0, len(jobs), _TOGETHER):
            await _ask_for_unrecorded(asking, jobs[start_ : start_ + _TOGETHER])


async def _listed(
    client: "S3Client", retry: RetryPolicy, *, bucket: str, prefix: str
) -> "AsyncIterator[Sequence[ObjectTypeDef]]":
    request: ListObjectsV2RequestTypeDef = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = await call_with_retry(
            partial(client.list_objects_v2, **request), retry, what=f"list s3://{bucket}/{prefix}"
        )
        yield page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _job(asking: RepairContext, found: "ObjectTypeDef") -> Job | None:
    """Return the job of an object; None, and a remark, when its key is not that of an upload."""
    settings, key = asking.settings, found["Key"]
    try:
        name = parse_upload_key(key, prefix=settings.uploads_prefix)
    except UnreadableMessageError:
        asking.report.left("not an upload")
        return None
    return Job(
        bucket=settings.bucket,
        key=key,
        user_id=name.user_id,
        image_id=name.image_id,
        version=SourceVersion(
            e_tag=found["ETag"].strip('"'),
            version_id=None,
            sequencer=None,
            uploaded_at=to_milliseconds(found["LastModified"]),
        ),
        size_bytes=found["Size"],
    )


async def _ask_for_unrecorded(asking: RepairContext, jobs: Sequence[Job]) -> None:
    images = await asking.queries.images([(job.image_id, job.user_id) for job in jobs], consistent=True)
    recorded = {(image.image_id, image.user_id): image for image in images}
    wishes: list[RequeueRequest] = []
    for job in jobs:
        image = recorded.get((job.image_id, job.user_id))
        try:
            wanted = job if image is None else await _newer(asking, job, image)
        except TransientError as error:
            asking.report.could_not(job.image_id, str(error))
            continue
        if wanted is None:
            asking.report.left("recorded already")
        else:
            wishes.append(asking.wish(wanted, action="asked for"))
    await asking.ask(wishes)


async def _newer(asking: RepairContext, job: Job, image: Image) -> Job | None:
    """
    Return the job of an object that came after the one that the record knows; None when it did not.

    Listings tell whole seconds, and of multipart uploads when they began. So where a time says that another
    object is not newer, a look at the bucket decides, now that the record has been read.
    """
    if job.version.is_same_object_as(image.version):
        return None
    if job.version.is_newer_than(image.version):
        return job
    if job.key != image.key:
        return None  # two uploads of one image id under different endings: the later one counts
    standing = await look(asking.clients.s3, image, asking.retries.bucket)
    return standing.job if standing.source is Source.REPLACED else None
