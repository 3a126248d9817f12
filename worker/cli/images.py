"""`image-worker images`: show and list images, set their retention, retry, reprocess and delete them."""

import time
from datetime import date
from typing import Annotated

import typer
from rich.markup import escape

from worker.bootstrap import RETRY_POLICIES, build_queries, build_repair_writes, open_client, table_of
from worker.cli.delete import delete
from worker.cli.reprocess import reprocess, retry
from worker.cli.support import output, timeline
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import IdArgument, UserOption, find_image, report_missing
from worker.cli.support.requester import requester
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError, TransientError
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.dynamodb.items import summary_to_map, to_item
from worker.dynamodb.queries import Page
from worker.dynamodb.similar import perceptual_hash, similar_images
from worker.presentation.picture_element import picture_element
from worker.presentation.units import human_bytes
from worker.presentation.words import error_words
from worker.repair.failures import MAX_GROUPED, FailureGroup, find_failures
from worker.repair.retention import DAY_S, MAX_DAYS, set_retention
from worker.s3.heads import head_object
from worker.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True)

LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="Images per page.")]
_SAMPLES = 3
"""Images that are named for each error code."""

TokenOption = Annotated[str | None, typer.Option(help="Page token: the nextToken of the previous page.")]


@app.callback()
def images() -> None:
    """Show, list, retry, reprocess and delete images."""


@app.command()
@asynchronous
async def get(
    image_id: IdArgument,
    *,
    user: UserOption = None,
    consistent: Annotated[bool, typer.Option("--consistent", help="Use a strongly consistent read.")] = False,
    html: Annotated[
        bool,
        typer.Option("--html", help="Print a <picture> element with the renditions, to copy into a page."),
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help="With --html: URL of the results bucket or its CDN; default: S3's."),
    ] = None,
    alt: Annotated[
        str | None, typer.Option("--alt", help="With --html: alternative text; default: the description.")
    ] = None,
    json: output.JsonOption = False,
) -> int:
    """
    Show an image: its status, results, steps, history, and why it failed.

    Exit status 1: the image does not exist, or, with --html, has no renditions.

    Example: image-worker images get img_1234567890abcdef
    """
    if json and html:
        message = "--json and --html exclude each other: use one of them"
        raise ConfigurationError(message)
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        image = await find_image(build_queries(dynamodb, settings), image_id, user, consistent=consistent)
    if image is None:
        return report_missing(image_id, settings)
    if html:
        base_url = (base_url or _bucket_url(settings)).rstrip("/")
        element = picture_element(image, base_url=base_url, alt=alt)
        if element is None:
            output.print_note(f"image {image_id} is {image.status} and has no renditions: complete it first")
            return 1
        output.print_text(element)
    elif json:
        output.print_json(to_item(image, table_of(settings)))
    else:
        output.console().print(timeline.render(image, caching=await _caching(image, settings)))
    return 0


async def _caching(image: Image, settings: Settings) -> str | None:
    """Return the `Cache-Control` header of the main result as it is stored; None if there is no result."""
    if image.processed_key is None:
        return None
    bucket, key = settings.results_bucket, image.processed_key
    async with open_client("s3", settings) as s3:
        try:
            head = await head_object(
                s3,
                {"Bucket": bucket, "Key": key},
                retry=RETRY_POLICIES.startup,
                what=f"read the metadata of s3://{bucket}/{key}",
            )
        except TransientError as error:
            return f"unknown: {error}"
    if head is None:
        return "the result is missing: run image-worker reconcile --objects"
    return head.get("CacheControl", "no Cache-Control header")


@app.command()
@asynchronous
async def similar(
    image_id: IdArgument,
    *,
    user: UserOption = None,
    max_distance: Annotated[
        int, typer.Option("--max-distance", min=0, max=64, help="Bits of the hash, of 64, that may differ.")
    ] = 10,
    json: output.JsonOption = False,
) -> int:
    """
    List near duplicates of an image among the newest 1,000 images of its user, by perceptual hash.

    Exit status 1: the image does not exist, or has no perceptual hash because it was never completed.

    Example: image-worker images similar img_1234567890abcdef --max-distance 5
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        queries = build_queries(dynamodb, settings)
        image = await find_image(queries, image_id, user, consistent=False)
        if image is None:
            return report_missing(image_id, settings)
        if perceptual_hash(image) is None:
            output.print_note(
                f"image {image_id} is {image.status} and has no perceptual hash: complete it first"
            )
            return 1
        search = await similar_images(queries, image, max_distance=max_distance)
    if json:
        found = [{**summary_to_map(each.image), "distance": each.distance} for each in search.found]
        output.print_json({"images": found, "searched": search.searched})
        return 0
    rows = [
        [
            str(each.distance),
            escape(each.image.image_id),
            output.moment(each.image.created_at),
            escape(each.image.file_name),
        ]
        for each in search.found
    ]
    console = output.console()
    if rows:
        console.print(output.table(["bits", "image", "uploaded", "file"], rows, numeric=["bits"]))
    console.print(f"{len(rows)} near duplicates among {search.searched:,} images of {escape(image.user_id)}")
    return 0


@app.command("list")
@asynchronous
async def list_(
    *,
    user: Annotated[str, typer.Option("--user", help="The owner.")],
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> int:
    """
    List the images of a user, newest first.

    Exit status 1: some records cannot be read; the others are listed.

    Example: image-worker images list --user alice --limit 50
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await build_queries(dynamodb, settings).images_of_user(user, limit=limit, token=token)
    return _print(page, json=json)


@app.command()
@asynchronous
async def status(
    status: Annotated[
        ImageStatus, typer.Argument(metavar="STATUS", help="pending, processing, completed or failed.")
    ],
    *,
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> int:
    """
    List the images with a status, newest first.

    Exit status 1: some records cannot be read; the others are listed.

    Example: image-worker images status failed
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await build_queries(dynamodb, settings).images_by_status(status, limit=limit, token=token)
    return _print(page, json=json)


@app.command()
@asynchronous
async def failures(
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_GROUPED, help="Group the newest failed images, at most this many.")
    ] = MAX_GROUPED,
    json: output.JsonOption = False,
) -> int:
    """
    Group the newest failed images by error code: how many, since when, and what to do.

    Exit status 1: some records cannot be read; the others are grouped.

    Example: image-worker images failures
    """
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        found = await find_failures(build_queries(dynamodb, settings), limit=limit)
    if found.unreadable:
        output.print_note(f"{found.unreadable} records of failed images cannot be read")
    exit_status = 1 if found.unreadable else 0
    if json:
        output.print_json(
            {
                "groups": [_group_document(group) for group in found.groups],
                "images": found.count,
                "hasMore": found.has_more,
                "unreadable": found.unreadable,
            }
        )
        return exit_status
    console = output.console()
    rows = [
        [
            escape(group.code),
            f"{len(group.images):,}",
            output.moment(group.first_at),
            output.moment(group.last_at),
            escape(", ".join(image.image_id for image in group.images[:_SAMPLES])),
            escape(error_words(group.code).advice),
        ]
        for group in found.groups
    ]
    columns = ["code", "images", "first", "last", "newest", "what to do"]
    console.print(output.table(columns, rows, numeric=["images"], unbroken=["code", "first", "last"]))
    if not rows:
        console.print("No images have failed.")
    if found.has_more:
        console.print(f"\nOnly the newest {limit:,} failed images are grouped: more images have failed.")
    return exit_status


def _group_document(group: FailureGroup) -> dict[str, object]:
    return {
        "code": group.code,
        "count": len(group.images),
        "firstAt": group.first_at,
        "lastAt": group.last_at,
        "advice": error_words(group.code).advice,
        "samples": [
            {"imageId": image.image_id, "userId": image.user_id, "message": image.message}
            for image in group.images[:_SAMPLES]
        ],
    }


@app.command()
@asynchronous
async def recent(
    *,
    day: Annotated[
        str | None, typer.Option(metavar="DAY", help="Day in UTC, as in 2024-01-31; default: today.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help="First day of a range that ends with --day.")
    ] = None,
    limit: LimitOption = 20,
    token: TokenOption = None,
    json: output.JsonOption = False,
) -> int:
    """
    List the images uploaded on a day or in a range of days, newest first.

    Exit status 1: some records cannot be read; the others are listed.

    Example: image-worker images recent --since 2024-01-01 --day 2024-01-31
    """
    last = _parse_day(day, "--day") if day else utc_now().date()
    first = _parse_day(since, "--since") if since else last
    if first > last:
        message = f"--since {first} is later than --day {last}: swap them"
        raise ConfigurationError(message)
    settings = start()
    async with open_client("dynamodb", settings) as dynamodb:
        page = await build_queries(dynamodb, settings).recent_images(first, last, limit=limit, token=token)
    return _print(page, json=json)


@app.command()
@asynchronous
async def retention(
    image_id: IdArgument,
    *,
    days: Annotated[
        int | None, typer.Option(min=1, max=MAX_DAYS, help="Delete the record this many days from now.")
    ] = None,
    forever: Annotated[
        bool, typer.Option("--forever", help="Never delete the record automatically.")
    ] = False,
    user: UserOption = None,
    json: output.JsonOption = False,
) -> int:
    """
    Set when the record of an image expires.

    The objects in the bucket stay, unless `image-worker events delete-expired` runs.

    Exit status 1: the image does not exist, or is being processed.

    Example: image-worker images retention img_1234567890abcdef --days 30
    """
    if (days is None) == (not forever):
        message = "--days and --forever exclude each other, and one is required: add --days N or --forever"
        raise ConfigurationError(message)
    settings = start()
    ttl = int(time.time()) + days * DAY_S if days is not None else None
    async with open_client("dynamodb", settings) as dynamodb:
        queries = build_queries(dynamodb, settings)
        image = await find_image(queries, image_id, user, consistent=True)
        writes = build_repair_writes(dynamodb, settings, requester("images retention"))
        if image is None or await set_retention(queries, writes, image, ttl=ttl) is None:
            return report_missing(image_id, settings)
    if json:
        output.print_json({"imageId": image_id, "userId": image.user_id, "ttl": ttl})
        return 0
    kept = "forever" if days is None else f"for {days} days"
    output.console().print(f"The record of {escape(image_id)} is kept {kept}.")
    return 0


app.command()(retry)
app.command()(reprocess)
app.command()(delete)


def _bucket_url(settings: Settings) -> str:
    """Return the URL of the results bucket, at which S3 or an emulator serves it."""
    bucket = settings.results_bucket
    if settings.endpoint_url:
        return f"{settings.endpoint_url}/{bucket}"
    region = f".{settings.region}" if settings.region else ""
    return f"https://{bucket}.s3{region}.amazonaws.com"


def _parse_day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{option} is {text!r}: write a day as in 2024-01-31"
        raise ConfigurationError(message) from error


def _print(page: Page, *, json: bool) -> int:
    """Print a page; return the exit status of the command."""
    for error in page.unreadable:
        output.print_note(str(error))
    exit_status = 1 if page.unreadable else 0
    if json:
        document: dict[str, object] = {
            "images": [summary_to_map(image) for image in page.images],
            "nextToken": page.next_token,
        }
        if page.unreadable:
            document["unreadable"] = [
                {"imageId": error.image_id, "userId": error.user_id, "reason": error.reason}
                for error in page.unreadable
            ]
        output.print_json(document)
        return exit_status
    rows = [
        [
            escape(image.image_id),
            escape(image.user_id),
            output.status_text(image.status),
            output.moment(image.created_at),
            human_bytes(image.file_size) if image.file_size is not None else "",
            escape(image.file_name),
        ]
        for image in page.images
    ]
    console = output.console()
    columns = ["image", "user", "status", "uploaded", "size", "file"]
    console.print(output.table(columns, rows, numeric=["size"], unbroken=["image"]))
    if not rows:
        console.print("No images.")
    if page.next_token:
        console.print(f"\nnext page: --token {page.next_token}", soft_wrap=True)
    return exit_status
