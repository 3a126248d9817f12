"""A presigned form allows one image of one user and nothing else; S3 checks it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.emulators import client
from tests.support.pictures import encoded, quadrants
from tests.support.retry import NO_WAIT
from tests.support.whole_worker import running_worker, wait_until_processed
from worker.domain.errors import InvalidUploadError
from worker.s3.uploads import UploadForm, Uploads
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

IMAGE = encoded(quadrants(96, 72))


async def form_of(settings: Settings, user_id: str = "zoë", *, max_bytes: int = 100_000) -> UploadForm:
    async with client("s3", settings) as s3:
        uploads = Uploads(s3, bucket=settings.bucket, keys=settings.upload_keys, retry=NO_WAIT)
        return await uploads.form(
            user_id=user_id, max_bytes=max_bytes, expires_s=60, tags=("sea", "sun"), description="Küste"
        )


async def send(form: UploadForm, content: bytes = IMAGE, changes: Mapping[str, str] | None = None) -> int:
    """Send a form as a browser does, with other fields; return the status."""
    own = {"Content-Type": "image/jpeg", "x-amz-meta-filename": "h%C3%A9.jpg"}
    body = aiohttp.FormData()
    for name, value in {**form.fields, **own, **(changes or {})}.items():
        body.add_field(name, value)
    body.add_field("file", content, filename="photo.jpg")
    async with aiohttp.ClientSession() as session, session.post(form.url, data=body) as response:
        return response.status


async def test_an_image_sent_by_a_form_is_processed_as_that_of_its_user(
    provisioned: Settings, dynamodb: "DynamoDBClient"
) -> None:
    form = await form_of(provisioned)
    async with running_worker(provisioned):
        assert await send(form) == 201
        (image,) = await wait_until_processed(dynamodb, provisioned, form.image_id, user_id="zoë")
    assert (image.status, image.file_name, image.tags) == ("completed", "hé.jpg", ("sea", "sun"))
    assert image.metadata["description"] == "Küste"


async def test_s3_rejects_what_the_form_does_not_allow(provisioned: Settings) -> None:
    form = await form_of(provisioned, max_bytes=len(IMAGE))
    assert await send(form, IMAGE + b" ") in {400, 403}, "a larger file"
    assert await send(form, b"") in {400, 403}, "an empty file"
    for changes in (
        {"Content-Type": "text/html"},
        {"key": "uploads/somebody/else.jpg"},
        {"acl": "public-read"},
        {"x-amz-meta-tags": "sky"},
        {"x-amz-meta-other": "value"},
    ):
        assert await send(form, changes=changes) in {400, 403}, changes
    assert await send(form) == 201


async def test_a_user_id_that_cannot_be_part_of_a_key_gets_no_form(provisioned: Settings) -> None:
    for user_id in ("", "a/b", "..", "x" * 1024):
        with pytest.raises(InvalidUploadError):
            await form_of(provisioned, user_id)
