"""
Read the inventory of a bucket: the list of its objects that S3 stores every day or week.

An inventory is a `manifest.json`, and data files in CSV (with gzip) or Parquet that it lists with their MD5.
The keys in CSV files are URL-encoded, those in Parquet files are not
(Amazon S3 User Guide, "Cataloging and analyzing your data with S3 Inventory").
"""

import asyncio
import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Row: TypeAlias = Mapping[str, Any]
"""Values of an object, by the name of the field in lower case and without underscores: `lastmodifieddate`."""

_SCHEME: Final = "s3://"
_PART_BYTES: Final = 8 * 1024 * 1024
_MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_ROWS: Final = 1000
"""Objects that are read at once."""

_NEEDED: Final = {"key": "Key", "lastmodifieddate": "LastModifiedDate", "etag": "ETag"}
"""Fields without which no upload can be compared with its record."""


@dataclass(frozen=True, slots=True)
class InventoryObject:
    """
    An object in an inventory.

    Attributes:
        key: Key, decoded.
        e_tag: ETag, without quotes.
        last_modified: When it was stored.
        size_bytes: Size; None if the inventory does not contain it.
        is_current: Whether it is what the key has now: neither an older version nor a delete marker.
    """

    key: str
    e_tag: str
    last_modified: datetime
    size_bytes: int | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class _DataFile:
    key: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    A manifest.

    Attributes:
        name: Path or URL of the manifest.
        bucket: Bucket that is listed.
        stored_in: Bucket with the data files.
        format: `CSV` or `Parquet`.
        fields: Names of the columns of a CSV file.
        files: The data files.
    """

    name: str
    bucket: str
    stored_in: str
    format: str
    fields: Sequence[str]
    files: Sequence[_DataFile]


async def read_manifest(name: str, *, s3: "S3Client", retry: RetryPolicy) -> Inventory:
    """
    Read the manifest of an inventory.

    Args:
        name: Path, or `s3://bucket/key`, of a `manifest.json`.
        s3: S3 client.
        retry: Retry policy for requests to S3.

    Raises:
        ConfigurationError: It cannot be read, or is not the manifest of an inventory in CSV or Parquet.
        TransientError: S3 was unavailable.
    """
    if name.startswith(_SCHEME):
        bucket, _, key = name.removeprefix(_SCHEME).partition("/")
        content = await _read_part(s3, bucket, key, 0, _MAX_MANIFEST_BYTES, retry)
    else:
        try:
            content = await asyncio.to_thread(Path(name).read_bytes)
        except OSError as error:
            message = f"the manifest {name} cannot be read: {error.strerror}; correct --manifest"
            raise ConfigurationError(message) from error
    try:
        return _parse_manifest(name, json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = (
            f"{name} is not the manifest of an S3 inventory ({error!r}): "
            "give the manifest.json that S3 stores with each inventory"
        )
        raise ConfigurationError(message) from error


async def read_objects(
    inventory: Inventory, *, s3: "S3Client", retry: RetryPolicy
) -> AsyncGenerator[list[InventoryObject], None]:
    """
    Yield the objects of an inventory, up to 1,000 at once.

    A data file in the folder of a local manifest, or in the folder `data` in it or next to it, is read there;
    the others are downloaded, one after the other.

    Raises:
        ConfigurationError: A data file is missing or damaged, or has not the fields that are needed.
        TransientError: S3 was unavailable.
    """
    for file in inventory.files:
        with TemporaryDirectory(prefix="image-worker-inventory-") as folder:
            path = _local_path(inventory, file)
            if path is None:
                path = Path(folder) / "data"
                await _download(s3, inventory, file, path, retry)
            digest = await asyncio.to_thread(_md5_of, path)
            if digest != file.md5:
                message = (
                    f"the data file {file.key} of {inventory.name} has the MD5 {digest}, not {file.md5} as "
                    "in the manifest: it is damaged or from another inventory; copy it again"
                )
                raise ConfigurationError(message)
            rows = (
                _rows_of_csv(path, inventory.fields) if inventory.format == "CSV" else _rows_of_parquet(path)
            )
            try:
                while batch := await asyncio.to_thread(_next_rows, rows):
                    yield [_object_of(row) for row in batch]
            except (ValueError, TypeError, EOFError, OSError, zlib.error, csv.Error) as error:
                message = (
                    f"the data file {file.key} of {inventory.name} cannot be read: {error}; copy it again"
                )
                raise ConfigurationError(message) from error
            except KeyError as error:
                needed, missing = ", ".join(_NEEDED.values()), _NEEDED.get(error.args[0], error)
                message = (
                    f"the inventory {inventory.name} does not have the field {missing}: "
                    f"add {needed} to its configuration, and use the next one"
                )
                raise ConfigurationError(message) from error


def _parse_manifest(name: str, manifest: Mapping[str, Any]) -> Inventory:
    stored_as = manifest["fileFormat"]
    if stored_as not in {"CSV", "Parquet"}:
        message = (
            f"the inventory {name} has the format {stored_as}, which cannot be read: "
            "configure an inventory in CSV or Parquet"
        )
        raise ConfigurationError(message)
    if stored_as == "Parquet" and find_spec("arro3") is None:
        message = (
            "no reader for Parquet files is installed: run pip install 'image-worker[inventory]', or "
            "configure an inventory in CSV"
        )
        raise ConfigurationError(message)
    return Inventory(
        name=name,
        bucket=manifest["sourceBucket"],
        stored_in=manifest["destinationBucket"].rpartition(":")[2],
        format=stored_as,
        fields=[_plain(field) for field in manifest["fileSchema"].split(",")],
        files=[_DataFile(each["key"], int(each["size"]), each["MD5checksum"]) for each in manifest["files"]],
    )


def _local_path(inventory: Inventory, file: _DataFile) -> Path | None:
    """Return where a data file is stored next to a local manifest; None if it is not."""
    if inventory.name.startswith(_SCHEME):
        return None
    folder, file_name = Path(inventory.name).parent, PurePosixPath(file.key).name
    places = (folder / file_name, folder / "data" / file_name, folder.parent / "data" / file_name)
    return next((path for path in places if path.is_file()), None)


async def _download(
    s3: "S3Client", inventory: Inventory, file: _DataFile, to: Path, retry: RetryPolicy
) -> None:
    with to.open("wb") as stream:
        for start in range(0, file.size_bytes, _PART_BYTES):
            part = await _read_part(s3, inventory.stored_in, file.key, start, _PART_BYTES, retry)
            await asyncio.to_thread(stream.write, part)


async def _read_part(
    s3: "S3Client", bucket: str, key: str, start: int, size_bytes: int, retry: RetryPolicy
) -> bytes:
    async def read() -> bytes:
        response = await s3.get_object(
            Bucket=bucket, Key=key, Range=f"bytes={start}-{start + size_bytes - 1}"
        )
        async with response["Body"] as body:
            return await body.read()

    url = f"{_SCHEME}{bucket}/{key}"
    try:
        return await call_with_retry(read, retry, what=f"read {url}")
    except ClientError as error:
        message = f"{url} cannot be read: {error}; correct --manifest, and allow s3:GetObject on it"
        raise ConfigurationError(message) from error


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _rows_of_csv(path: Path, fields: Sequence[str]) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        for values in csv.reader(stream):
            row = dict(zip(fields, values, strict=True))
            yield {**row, "key": unquote_plus(row["key"], errors="strict")}


def _rows_of_parquet(path: Path) -> Iterator[Row]:
    from arro3.io import read_parquet

    for batch in read_parquet(path, batch_size=_ROWS):
        names = [_plain(name) for name in batch.column_names]
        columns = [batch.column(name).to_pylist() for name in batch.column_names]
        yield from (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _next_rows(rows: Iterator[Row]) -> list[Row]:
    return list(islice(rows, _ROWS))


def _plain(field: str) -> str:
    return field.strip().replace("_", "").lower()


def _object_of(row: Row) -> InventoryObject:
    modified, e_tag, size = row["lastmodifieddate"], row["etag"], row.get("size")
    is_current = _is_true(row.get("islatest", True)) and not _is_true(row.get("isdeletemarker", False))
    return InventoryObject(
        key=row["key"],
        e_tag=str(e_tag or "").strip('"'),
        last_modified=clock.from_text(str(modified)),
        size_bytes=int(size) if size not in {None, ""} else None,
        is_current=is_current,
    )


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"
