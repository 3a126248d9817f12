"""`image-worker demo`: process images on an embedded AWS, and show the results in a contact sheet."""

import asyncio
import os
import time
import unicodedata
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from worker.aws.retry import call_with_retry
from worker.bootstrap import RETRY_POLICIES, build_queries, build_uploads
from worker.cli.app import called_command
from worker.cli.support import output
from worker.cli.support.embedded import Embedded, embedded_worker
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.uploads import follow, store_all
from worker.domain.errors import ConfigurationError, TransientError
from worker.domain.image import Image, Rendition
from worker.domain.status import ImageStatus, StepName
from worker.local.contact_sheet import Pair, contact_sheet
from worker.local.demo_images import write_demo_images
from worker.presentation.units import human_bytes, human_shape

app = typer.Typer(add_completion=False)

USER: Final = "demo"
CONTACT_SHEET: Final = "contact-sheet.png"
_TIMEOUT_S: Final = 600.0
_WIDE_COLUMNS: Final = 116
"""Terminal width from which the table has a column for each step."""
_IMAGE_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        "apng",
        "avif",
        "avifs",
        "bmp",
        "dib",
        "gif",
        "heic",
        "heics",
        "heif",
        "heifs",
        "hif",
        "jfif",
        "jpe",
        "jpeg",
        "jpg",
        "mpo",
        "pjp",
        "pjpeg",
        "png",
        "tif",
        "tiff",
        "webp",
    )
)


@dataclass(frozen=True, slots=True)
class Result:
    """A processed image: the uploaded file, its record, and the content of the main result if completed."""

    file: Path
    image: Image
    content: bytes | None

    def name(self, *, taken: AbstractSet[str]) -> str:
        """
        Return the name of the result file: that of the uploaded file, with the extension of the result.

        Args:
            taken: Folded names (`_folded`) that it must not have: `a.heic` and `a.heic.jpg` both become
                `a.heic.jpg`.
        """
        extension = Path(self.image.processed_key or "").suffix
        name = self.file.name if extension == self.file.suffix.lower() else f"{self.file.name}{extension}"
        stem = name.removesuffix(Path(name).suffix)
        numbered = (f"{stem} ({number}){Path(name).suffix}" for number in count(2))
        return next(each for each in chain([name], numbered) if _folded(each) not in taken)


@app.command()
@asynchronous
async def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Folder with your own images, without its subfolders; default: demo images.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the results and the contact sheet.")] = Path(
        "demo-out"
    ),
    json: output.JsonOption = False,
) -> None:
    """
    Process demo images, or your own, on an embedded AWS: S3, SQS and DynamoDB with the worker.

    Prints what each step did, and writes the results and a contact sheet that compares before and after.

    Example: image-worker demo ~/Pictures --out results
    """
    os.environ.setdefault("WORKER_LOG_LEVEL", "error")  # the table replaces the logs; set it to see them
    start()
    with TemporaryDirectory(prefix="image-worker-demo-") as made:
        if folder:
            files, skipped = _images_in(folder)
        else:
            with output.working("preparing demo images"):
                files, skipped = await asyncio.to_thread(write_demo_images, Path(made)), []
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            with output.working("starting the embedded AWS and the worker"):
                embedded = await stack.enter_async_context(embedded_worker())
            results = await _process(embedded, files)
        elapsed_s = time.monotonic() - started
        with output.working("drawing the contact sheet"):
            sheet = await asyncio.to_thread(_write, results, out)
    if json:
        images = [_document(each) for each in results]
        output.print_json({"images": images, "skippedFiles": skipped, "out": out, "contactSheet": sheet})
        return
    console = output.console()
    console.print(_table(results, width=console.width))
    console.print()
    for each in results:
        if error := each.image.error:
            console.print(f"{escape(each.file.name)}: {error.code}: {escape(error.message)}", soft_wrap=True)
    completed = sum(each.image.status is ImageStatus.COMPLETED for each in results)
    console.print(
        f"{completed} of {len(results)} images completed in {elapsed_s:.1f} s, "
        "including the start of the embedded AWS; step times are in milliseconds."
    )
    if skipped:
        console.print(f"Skipped because they are not image files: {escape(', '.join(skipped))}")
    console.print(f"Results: [bold]{escape(str(out))}[/]. Contact sheet: [bold]{escape(str(sheet))}[/].")
    console.print(f"Watch your own images go through each step: [bold]{escape(called_command())} local[/]")


def _images_in(folder: Path) -> tuple[list[Path], list[str]]:
    """
    Return the image files in a folder, and the names of the other entries.

    Files are selected by extension. The names of subfolders end with a slash.

    Raises:
        ConfigurationError: The folder has no image files.
    """
    found = sorted(folder.iterdir())
    files = [file for file in found if file.is_file() and file.suffix.lower() in _IMAGE_SUFFIXES]
    if not files:
        extensions = " ".join(sorted(_IMAGE_SUFFIXES))
        message = f"folder {folder} has no image files: add files with one of the extensions {extensions}"
        raise ConfigurationError(message)
    return files, [f"{each.name}/" if each.is_dir() else each.name for each in found if each not in files]


async def _process(embedded: Embedded, files: Sequence[Path]) -> list[Result]:
    """Upload the files, wait until they are processed, and return the results in the same order."""
    settings, clients = embedded.settings, embedded.clients
    ended: dict[str, Image] = {}
    with output.bars() as progress:
        bar = progress.add_task("S3 -> SQS -> validate -> resize -> watermark -> S3", total=len(files))
        user = settings.upload_keys.constant_user or USER
        uploads = await store_all(build_uploads(clients.s3, settings), files, user_id=user, tags=("demo",))
        queries = build_queries(clients.dynamodb, settings)
        try:
            async for upload, image in follow(queries, uploads, timeout_s=_TIMEOUT_S):
                ended[upload.image_id] = image
                progress.advance(bar)
        except TimeoutError as error:
            message = f"{error}: set WORKER_LOG_LEVEL=info to see the reason, or use fewer images"
            raise TransientError(message) from error

    async def fetch(key: str | None) -> bytes | None:
        if key is None:
            return None

        async def read() -> bytes:
            response = await clients.s3.get_object(Bucket=settings.results_bucket, Key=key)
            async with response["Body"] as body:
                return await body.read()

        return await call_with_retry(read, RETRY_POLICIES.bucket, what=f"read {key}")

    return [
        Result(file, ended[upload.image_id], await fetch(ended[upload.image_id].processed_key))
        for file, upload in zip(files, uploads, strict=True)
    ]


def _write(results: Sequence[Result], out: Path) -> Path:
    """Write the results and the contact sheet; return the path of the contact sheet."""
    out.mkdir(parents=True, exist_ok=True)
    taken = {CONTACT_SHEET}
    for each in results:
        if each.content is not None:
            name = each.name(taken=taken)
            taken.add(_folded(name))
            (out / name).write_bytes(each.content)
    sheet = out / CONTACT_SHEET
    contact_sheet([_pair(each) for each in results], path=sheet)
    return sheet


def _folded(name: str) -> str:
    """Return a name in the form in which file systems without case or Unicode forms compare it."""
    return unicodedata.normalize("NFC", name).casefold()


def _pair(result: Result) -> Pair:
    image, main = result.image, _main_rendition(result.image)
    return Pair(
        name=result.file.name,
        before=result.file,
        after=result.content,
        before_size=_original_size(image),
        after_size=(main.width, main.height) if main else None,
        before_bytes=image.file_size,
        after_bytes=main.size_bytes if main else None,
        elapsed_ms=sum(image.step_durations_ms().values()) or None,
        error_code=image.error.code if image.error else None,
        error_message=image.error.message if image.error else None,
    )


def _table(results: Sequence[Result], *, width: int) -> Table:
    """Return the results as a table, with the time of each step on a wide terminal, or else their sum."""
    is_wide = width >= _WIDE_COLUMNS
    rows = []
    for result in results:
        image, main, step_ms = result.image, _main_rendition(result.image), result.image.step_durations_ms()
        before = _original_size(image)
        steps = [str(step_ms[step]) if step in step_ms else "" for step in StepName]
        upload = human_bytes(image.file_size) if image.file_size else ""
        rows.append(
            [
                escape(result.file.name),
                human_shape(before) if before else "",
                *([upload] if is_wide else []),
                human_shape((main.width, main.height)) if main else "",
                human_bytes(main.size_bytes) if main else "",
                *(steps if is_wide else [str(sum(step_ms.values())) if step_ms else ""]),
                output.status_text(image.status),
            ]
        )
    sizes = ["before", "size", "after", "size "] if is_wide else ["before", "after", "size"]
    columns = ["image", *sizes, *(StepName if is_wide else ["ms"]), "status"]
    return output.table(columns, rows, numeric=columns[1:-1], unbroken=["status"])


def _document(result: Result) -> dict[str, Any]:
    image, main, before = result.image, _main_rendition(result.image), _original_size(result.image)
    return {
        "file": result.file.name,
        "imageId": image.image_id,
        "status": str(image.status),
        "processedS3Key": image.processed_key,
        "original": {"width": before[0], "height": before[1], "bytes": image.file_size} if before else None,
        "processed": {"width": main.width, "height": main.height, "bytes": main.size_bytes} if main else None,
        "milliseconds": {str(step): ms for step, ms in image.step_durations_ms().items()},
        "error": {"code": image.error.code, "message": image.error.message} if image.error else None,
    }


def _main_rendition(image: Image) -> Rendition | None:
    return next((each for each in image.renditions.values() if each.key == image.processed_key), None)


def _original_size(image: Image) -> tuple[int, int] | None:
    """Return the size of the upload as displayed, from the detail of the resize step."""
    dimensions: Any = image.steps[StepName.RESIZE].detail.get("dimensions")
    return (dimensions["original"]["width"], dimensions["original"]["height"]) if dimensions else None
