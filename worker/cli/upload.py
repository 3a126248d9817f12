"""`image-worker upload`: pictures into the bucket."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from worker.bootstrap import open_clients
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import queries_of
from worker.cli.support.uploads import follow, put_all
from worker.domain.image import Image
from worker.domain.status import ImageStatus

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def upload(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The pictures."),
    ],
    *,
    user: Annotated[str, typer.Option("--user", help="The user that they belong to.")],
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag; can be repeated.")] = None,
    description: Annotated[str | None, typer.Option(help="What they show.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow them to the end.")] = False,
    timeout_s: Annotated[float, typer.Option(help="How long --wait follows, in seconds.")] = 300,
    json: output.JsonOption = False,
) -> int:
    """
    Put pictures in the bucket under the upload key, and print their image ids.

    Exit status 1: some could not be uploaded; with --wait, some failed or had not ended in time.

    Example: image-worker upload beach.jpg --user alice --tag holidays --wait
    """
    settings = start()
    ended: dict[str, Image] = {}
    late: str | None = None
    async with open_clients(settings) as clients:
        with output.bars() as progress:
            bar = progress.add_task("uploading", total=len(files))
            uploads = await put_all(
                clients,
                settings,
                files,
                user_id=user,
                tags=tag or (),
                description=description,
                tell=partial(progress.advance, bar),
            )
            if wait:
                bar = progress.add_task("processing", total=len(uploads))
                queries = queries_of(clients.dynamodb, settings)
                try:
                    async for one, image in follow(queries, uploads, timeout_s=timeout_s):
                        ended[one.image_id] = image
                        progress.advance(bar)
                except TimeoutError as error:  # their ids are told all the same
                    late = str(error)
    if json:
        document = [
            {"file": str(one.file), "imageId": one.image_id, "userId": one.user_id, "key": one.key}
            | _told(ended.get(one.image_id))
            for one in uploads
        ]
        output.print_json({"images": document})
    else:
        console = output.console()
        for one in uploads:
            told = ended.get(one.image_id)
            status = f"  {output.status_text(told.status)}" if told else ""
            reason = f"  {escape(told.error.message)}" if told and told.error else ""
            console.print(f"{one.image_id}  {escape(one.file.name)}{status}{reason}")
    if late:
        typer.echo(f"{late}; see `image-worker images list --user {user}`", err=True)
    has_failed = any(image.status is ImageStatus.FAILED for image in ended.values())
    return 1 if late or has_failed else 0


def _told(image: Image | None) -> dict[str, object]:
    if image is None:
        return {}
    error = {"code": image.error.code, "message": image.error.message} if image.error else None
    return {"status": image.status.value, "processedS3Key": image.processed_key, "error": error}
