"""The CRC-32 of S3's checksums, computed by zlib-ng in an eighth of the time that zlib takes."""

import base64

from botocore import httpchecksum
from zlib_ng.zlib_ng import crc32


def use_zlib_ng() -> None:
    """
    Let botocore compute CRC-32 with zlib-ng, in this whole process.

    botocore has no setting for it. Where it no longer has the replaced name, its own function is used.
    """
    httpchecksum.crc32 = crc32  # type: ignore[attr-defined]  # the stubs do not have what botocore imports


def encoded_crc32(content: bytes) -> str:
    """Return the CRC-32 of the content of an object as S3's headers have it, in Base64."""
    return base64.b64encode(crc32(content).to_bytes(4, "big")).decode()
