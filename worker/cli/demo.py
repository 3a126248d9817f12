"""`image-worker demo`: pictures through an embedded AWS, with a table and a contact sheet to look at."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from worker.aws.retry import call_with_retry
from worker.bootstrap import RETRY_POLICIES
from worker.cli.support import output
from worker.cli.support.embedded import Embedded, embedded_worker
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import queries_of
from worker.cli.support.uploads import Upload, follow, put_all
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image, Rendition
from worker.domain.status import ImageStatus, StepName
from worker.local.contact_sheet import Pair, contact_sheet
from worker.local.demo_images import write_demo_images

app = typer.Typer(add_completion=False)

USER: Final = "demo"
SHEET: Final = "contact-sheet.png"
_LONGEST_S: Final = 600.0
_WIDE: Final = 116
"""Columns of a terminal in which the table has room for each step."""
_ENDINGS: Final = (
    "avif",
    "bmp",
    "gif",
    "heic",
    "heif",
    "jpe",
    "jpeg",
    "jpg",
    "mpo",
    "png",
    "tif",
    "tiff",
    "webp",
)
_PICTURES: Final = frozenset(f".{ending}" for ending in _ENDINGS)


@dataclass(frozen=True, slots=True)
class Result:
    """A picture at its end: the file, its record, and the main result, if there is one."""

    file: Path
    image: Image
    content: bytes | None

    @property
    def name(self) -> str:
        """Of the file that the result is written to: the upload's own name, so that it is found again."""
        extension = Path(self.image.processed_key or "").suffix
        return f"{self.file.name}{extension}" if extension != self.file.suffix.lower() else self.file.name


@app.command()
@asynchronous
async def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Pictures of your own, not those in folders below; left out, some are made.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Where results and contact sheet are written.")] = Path(
        "demo-out"
    ),
    json: output.JsonOption = False,
) -> None:
    """
    Watch pictures go through an embedded AWS: S3, SQS, the worker and its decoder processes, DynamoDB.

    Example: image-worker demo ~/Pictures --out results
    """
    os.environ.setdefault("WORKER_LOG_LEVEL", "error")  # the table tells it better; setting it shows the logs
    start()
    with TemporaryDirectory(prefix="image-worker-demo-") as made:
        if folder:
            files, left_out = _pictures_of(folder)
        else:
            with output.working("preparing demo images"):
                files, left_out = await asyncio.to_thread(write_demo_images, Path(made)), []
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            with output.working("starting an AWS and a worker"):
                embedded = await stack.enter_async_context(embedded_worker())
            results = await _process(embedded, files)
        elapsed_s = time.monotonic() - started
        with output.working("drawing the contact sheet"):
            sheet = await asyncio.to_thread(_write, results, out)
    if json:
        images = [_document(one) for one in results]
        output.print_json({"images": images, "leftOut": left_out, "out": out, "contactSheet": sheet})
        return
    console = output.console()
    console.print(_table(results, width=console.width))
    console.print()
    for one in results:
        if error := one.image.error:
            console.print(f"{escape(one.file.name)}: {error.code}: {escape(error.message)}", soft_wrap=True)
    completed = sum(one.image.status is ImageStatus.COMPLETED for one in results)
    console.print(
        f"{completed} of {len(results)} pictures completed in {elapsed_s:.1f} s, "
        "the start of the AWS included; steps in milliseconds."
    )
    if left_out:
        console.print(f"Left out, as folders, or by their endings: {escape(', '.join(left_out))}")
    console.print(
        f"Results in [bold]{escape(str(out))}[/], before and after in [bold]{escape(str(sheet))}[/]"
    )


def _pictures_of(folder: Path) -> tuple[list[Path], list[str]]:
    """
    Tell the pictures of a folder from what else is in it, by their endings.

    Returns:
        The pictures, and the names of what is left out, with a slash where that is a folder.

    Raises:
        ConfigurationError: There are none.
    """
    found = sorted(folder.iterdir())
    files = [file for file in found if file.is_file() and file.suffix.lower() in _PICTURES]
    if not files:
        endings = " ".join(sorted(_PICTURES))
        message = f"{folder} itself has no pictures; these endings are looked for: {endings}"
        raise ConfigurationError(message)
    return files, [f"{one.name}/" if one.is_dir() else one.name for one in found if one not in files]


async def _process(embedded: Embedded, files: Sequence[Path]) -> list[Result]:
    """Upload the files, follow them to their end, and fetch what came of them, in the order of the files."""
    settings, clients = embedded.settings, embedded.clients
    ended: dict[Upload, Image] = {}
    with output.bars() as progress:
        bar = progress.add_task("S3 -> SQS -> validate -> resize -> watermark -> S3", total=len(files))
        uploads = await put_all(clients, settings, files, user_id=USER, tags=("demo",))
        queries = queries_of(clients.dynamodb, settings)
        async for upload, image in follow(queries, uploads, timeout_s=_LONGEST_S):
            ended[upload] = image
            progress.advance(bar)

    async def fetch(key: str | None) -> bytes | None:
        if key is None:
            return None

        async def read() -> bytes:
            answer = await clients.s3.get_object(Bucket=settings.results_bucket, Key=key)
            async with answer["Body"] as body:
                return await body.read()

        return await call_with_retry(read, RETRY_POLICIES.bucket, what=f"read {key}")

    return [Result(one.file, ended[one], await fetch(ended[one].processed_key)) for one in uploads]


def _write(results: Sequence[Result], out: Path) -> Path:
    """Write the results and their contact sheet; return the sheet's path."""
    out.mkdir(parents=True, exist_ok=True)
    for one in results:
        if one.content is not None:
            (out / one.name).write_bytes(one.content)
    sheet = out / SHEET
    contact_sheet([_pair(one) for one in results], path=sheet)
    return sheet


def _pair(one: Result) -> Pair:
    image, main = one.image, _main_of(one.image)
    return Pair(
        name=one.file.name,
        before=one.file,
        after=one.content,
        before_size=_original_size(image),
        after_size=(main.width, main.height) if main else None,
        before_bytes=image.file_size,
        after_bytes=main.size_bytes if main else None,
        elapsed_ms=sum(image.step_durations_ms().values()) or None,
        error_code=image.error.code if image.error else None,
        error_message=image.error.message if image.error else None,
    )


def _table(results: Sequence[Result], *, width: int) -> Table:
    """Lay the results out: each step's time where the terminal is wide, else their sum."""
    is_wide = width >= _WIDE
    rows = []
    for one in results:
        image, main, step_ms = one.image, _main_of(one.image), one.image.step_durations_ms()
        before = _original_size(image)
        steps = [str(step_ms[step]) if step in step_ms else "" for step in StepName]
        upload = output.human_bytes(image.file_size) if image.file_size else ""
        rows.append(
            [
                escape(one.file.name),
                output.human_shape(before) if before else "",
                *([upload] if is_wide else []),
                output.human_shape((main.width, main.height)) if main else "",
                output.human_bytes(main.size_bytes) if main else "",
                *(steps if is_wide else [str(sum(step_ms.values())) if step_ms else ""]),
                output.status_text(image.status),
            ]
        )
    sizes = ["before", "size", "after", "size "] if is_wide else ["before", "after", "size"]
    columns = ["picture", *sizes, *(StepName if is_wide else ["ms"]), "status"]
    return output.table(columns, rows, numeric=columns[1:-1], unbroken=["status"])


def _document(one: Result) -> dict[str, Any]:
    image, main, before = one.image, _main_of(one.image), _original_size(one.image)
    return {
        "file": one.file.name,
        "imageId": image.image_id,
        "status": image.status.value,
        "processedS3Key": image.processed_key,
        "original": {"width": before[0], "height": before[1], "bytes": image.file_size} if before else None,
        "processed": {"width": main.width, "height": main.height, "bytes": main.size_bytes} if main else None,
        "milliseconds": {step.value: ms for step, ms in image.step_durations_ms().items()},
        "error": {"code": image.error.code, "message": image.error.message} if image.error else None,
    }


def _main_of(image: Image) -> Rendition | None:
    return next((one for one in image.renditions.values() if one.key == image.processed_key), None)


def _original_size(image: Image) -> tuple[int, int] | None:
    """Return the upload's size as displayed, which the resize step has noted."""
    dimensions: Any = image.steps[StepName.RESIZE].detail.get("dimensions")
    return (dimensions["original"]["width"], dimensions["original"]["height"]) if dimensions else None
