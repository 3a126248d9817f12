"""`image-worker upload`: upload images to S3."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from worker.bootstrap import build_queries, build_uploads, open_clients
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import FocusOption, parse_focus_option
from worker.cli.support.uploads import follow, store_all
from worker.domain.image import Image
from worker.domain.status import ImageStatus

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def upload(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="Image files."),
    ],
    *,
    user: Annotated[str, typer.Option("--user", help="The owner of the images.")],
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Tag of the images; repeat it for several tags.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Description of the images.")] = None,
    focus: FocusOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the images are completed or failed.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Time limit of --wait, in seconds.")] = 300,
    json: output.JsonOption = False,
) -> int:
    """
    Upload images to S3 and print their image ids.

    Exit status 1: an upload failed; with --wait, an image failed or was not processed in time.

    Example: image-worker upload beach.jpg --user alice --tag holidays --wait
    """
    settings, point = start(), parse_focus_option(focus)
    ended: dict[str, Image] = {}
    timeout_message: str | None = None
    async with open_clients(settings) as clients:
        with output.bars() as progress:
            bar = progress.add_task("uploading", total=len(files))
            uploads = await store_all(
                build_uploads(clients.s3, settings),
                files,
                user_id=user,
                tags=tag or (),
                description=description,
                focus=point,
                on_uploaded=partial(progress.advance, bar),
            )
            if wait:
                bar = progress.add_task("processing", total=len(uploads))
                queries = build_queries(clients.dynamodb, settings)
                try:
                    async for finished, image in follow(queries, uploads, timeout_s=timeout_s):
                        ended[finished.image_id] = image
                        progress.advance(bar)
                except TimeoutError as error:  # the image ids are still printed
                    timeout_message = str(error)
    if json:
        document = [
            {"file": str(file), "imageId": each.image_id, "userId": each.user_id, "key": each.key}
            | _result(ended.get(each.image_id))
            for file, each in zip(files, uploads, strict=True)
        ]
        output.print_json({"images": document})
    else:
        console = output.console()
        for each in uploads:
            result = ended.get(each.image_id)
            status = f"  {output.status_text(result.status)}" if result else ""
            reason = f"  {escape(result.error.message)}" if result and result.error else ""
            console.print(f"{each.image_id}  {escape(each.file_name)}{status}{reason}")
    if timeout_message:
        output.print_note(f"{timeout_message}; see `image-worker images list --user {user}`")
    has_failed = any(image.status is ImageStatus.FAILED for image in ended.values())
    return 1 if timeout_message or has_failed else 0


def _result(image: Image | None) -> dict[str, object]:
    if image is None:
        return {}
    error = {"code": image.error.code, "message": image.error.message} if image.error else None
    return {"status": str(image.status), "processedS3Key": image.processed_key, "error": error}
