"""`image-worker upload-form`: print a presigned form for the upload of an image by a browser."""

from datetime import timedelta
from typing import Annotated

import typer

from worker.bootstrap import build_uploads, open_client
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start
from worker.cli.support.options import FocusOption, parse_focus_option
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError

app = typer.Typer(add_completion=False)


@app.command("upload-form")
@asynchronous
async def upload_form(
    *,
    user: Annotated[str, typer.Option("--user", help="The owner of the image.")],
    max_bytes: Annotated[
        int | None,
        typer.Option("--max-bytes", min=1, help="Maximum size of the file; default: WORKER_MAX_BYTES."),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Tag of the image; repeat it for several tags.")
    ] = None,
    description: Annotated[str, typer.Option(help="Description of the image.")] = "",
    focus: FocusOption = None,
    expires_s: Annotated[
        int, typer.Option("--expires", min=1, max=604_800, help="Seconds until the form expires.")
    ] = 900,
) -> None:
    """
    Print a presigned form for the upload of one image by a browser, as JSON.

    A backend makes such a form for each upload, and its page sends the file with the fields directly to S3:
    see docs/browser-uploads.md. The key, the owner, the maximum size, tags, description and focal point
    are signed. The command makes no request to AWS.

    Example: image-worker upload-form --user alice --max-bytes 10000000
    """
    settings = start()
    limit = settings.max_bytes if max_bytes is None else max_bytes
    if limit > settings.max_bytes:
        message = (
            f"--max-bytes is {limit:,}, but the worker rejects files above WORKER_MAX_BYTES "
            f"({settings.max_bytes:,}): lower the first or raise the second"
        )
        raise ConfigurationError(message)
    async with open_client("s3", settings) as s3:
        form = await build_uploads(s3, settings).form(
            user_id=user,
            max_bytes=limit,
            expires_s=expires_s,
            tags=tag or (),
            description=description,
            focus=parse_focus_option(focus),
        )
    output.print_json(
        {
            "url": form.url,
            "fields": form.fields,
            "imageId": form.image_id,
            "userId": form.user_id,
            "key": form.key,
            "maxBytes": limit,
            "expiresAt": utc_now() + timedelta(seconds=expires_s),
        }
    )
