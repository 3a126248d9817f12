"""Files of people become uploads: their keys, image ids and metadata."""

import re
from io import BytesIO
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.builders import UPLOAD_KEYS
from worker.aws.retry import RetryPolicy
from worker.domain.errors import InvalidUploadError, TransientError
from worker.domain.focus import Focus
from worker.domain.keys import MAX_KEY_BYTES, UploadKeyTemplate
from worker.s3.sources import describe
from worker.s3.uploads import Uploads

RETRY = RetryPolicy(attempts=3, timeout_s=5, wait_initial_s=0.001, wait_max_s=0.001)


class FakeS3:
    """Keeps every request, after as many failures as the test sets."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.stored: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    async def put_object(self, **request: Any) -> None:
        body = request["Body"]
        self.bodies.append(body if isinstance(body, bytes) else body.read())
        if self.failures:
            self.failures -= 1
            raise EndpointConnectionError(endpoint_url="http://s3")
        self.stored.append(request)


def uploads(s3: FakeS3) -> Uploads:
    return Uploads(s3, bucket="image-uploads", keys=UPLOAD_KEYS, retry=RETRY)  # type: ignore[arg-type] # a fake


async def test_an_upload_has_the_image_id_that_the_worker_derives_from_its_key() -> None:
    s3 = FakeS3()
    for name in ("beach.JPG", "film.mov", "raw.dng", "no extension", "a.b.png", ".hidden", "x.tar.gz"):
        stored = await uploads(s3).store(b"content", file_name=name, user_id="alice")
        parsed = UPLOAD_KEYS.parse_key(stored.key)
        assert (parsed.user_id, parsed.image_id) == ("alice", stored.image_id)
        assert s3.stored[-1]["Key"] == stored.key
    assert s3.stored[0]["ContentType"] == "image/jpeg"
    assert s3.stored[0]["Key"].endswith(".jpg")


async def test_an_upload_has_a_key_of_the_template_and_belongs_to_its_constant_user() -> None:
    keys = UploadKeyTemplate.parse("photos/{folders}/{imageId}", prefix="uploads/", constant_user="shop")
    store = Uploads(FakeS3(), bucket="image-uploads", keys=keys, retry=RETRY)  # type: ignore[arg-type] # a fake
    stored = await store.store(b"content", file_name="beach.JPG", user_id="shop")
    assert re.fullmatch(r"photos/img_[0-9a-f]{16}\.jpg", stored.key)
    assert stored.image_id == stored.key.removeprefix("photos/")
    with pytest.raises(InvalidUploadError, match=r"belong to 'shop' \(WORKER_UPLOAD_USER\); use that one"):
        await store.store(b"content", file_name="beach.jpg", user_id="alice")


@pytest.mark.parametrize(
    "name",
    [
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg",
        "<img src=x>.jpg",
        "a\r\nb.jpg",
        "100%25.jpg",
        "\x1b[31m.jpg",
    ],
)
async def test_the_worker_reads_the_file_name_as_it_was(name: str) -> None:
    s3 = FakeS3()
    await uploads(s3).store(
        b"content",
        file_name=name,
        user_id="alice",
        tags=("a", "b c"),
        description="50 %",
        focus=Focus(0.4, 1),
    )
    metadata = s3.stored[0]["Metadata"]
    assert all(value.isascii() and value.isprintable() for value in metadata.values())
    described = describe({"Metadata": metadata, "ContentType": "image/jpeg"}, size_bytes=7)  # type: ignore[typeddict-item] # what it reads
    assert described.file_name == name
    assert described.tags == ("a", "b c")
    assert described.metadata == {"description": "50 %"}
    assert described.focus == Focus(0.4, 1)


@pytest.mark.parametrize("name", ["a.jp/g", "a.j pg", "a." + "x" * 500, "a.\N{SNOWMAN}", "a.jpg\n"])
async def test_an_unusual_extension_does_not_become_part_of_the_key(name: str) -> None:
    s3 = FakeS3()
    stored = await uploads(s3).store(b"content", file_name=name, user_id="alice")
    assert stored.key == f"uploads/alice/{stored.image_id}"


@pytest.mark.parametrize("user_id", ["", "a/b", "/", ".", "..", "x" * MAX_KEY_BYTES, "\ud800"])
async def test_a_user_id_that_cannot_be_part_of_a_key_is_rejected_before_anything_is_stored(
    user_id: str,
) -> None:
    s3 = FakeS3()
    with pytest.raises(InvalidUploadError, match="; use "):
        await uploads(s3).store(b"content", file_name="a.jpg", user_id=user_id)
    assert not s3.bodies


async def test_names_that_are_too_long_for_s3_are_rejected_before_anything_is_stored() -> None:
    s3 = FakeS3()
    with pytest.raises(InvalidUploadError, match="longer than the 2,048 bytes"):
        await uploads(s3).store(b"content", file_name="\N{SNOWMAN}" * 300 + ".jpg", user_id="alice")
    assert not s3.bodies


async def test_a_retry_sends_a_file_from_its_start_again() -> None:
    s3 = FakeS3(failures=1)
    await uploads(s3).store(BytesIO(b"content"), file_name="a.jpg", user_id="alice")
    assert s3.bodies == [b"content", b"content"]


async def test_an_upload_that_s3_does_not_accept_raises_after_its_retries() -> None:
    with pytest.raises(TransientError, match=r"could not upload a\.jpg"):
        await uploads(FakeS3(failures=10)).store(b"content", file_name="a.jpg", user_id="alice")
