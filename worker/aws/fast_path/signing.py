"""
Signing requests to AWS, version 4, in headers.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aiobotocore.credentials import AioCredentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Signer:
    """
    Signs for one service in one region.

    Args:
        credentials: Which refresh themselves where they are temporary.
        region: As `eu-west-1`.
        service: Its signing name, as `dynamodb`.
    """

    def __init__(self, credentials: "AioCredentials", *, region: str, service: str) -> None:
        self._credentials, self._region, self._service = credentials, region, service
        self._derived: tuple[str, str, bytes] = ("", "", b"")

    async def sign(
        self, method: str, url: str, headers: dict[str, str], *, payload_hash: str, at: datetime | None = None
    ) -> None:
        """
        Add to the headers what proves who sends them.

        Args:
            method: In capitals.
            url: As it is sent: path and query are encoded already, and the query is in order.
            headers: By lower-case names; all of them are signed.
            payload_hash: SHA-256 of the body in hexadecimal.
            at: The present moment, unless said otherwise.
        """
        frozen = await self._credentials.get_frozen_credentials()
        now = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        parts = urlsplit(url)
        headers["x-amz-date"] = now
        if frozen.token:
            headers["x-amz-security-token"] = frozen.token
        lines = {"host": parts.netloc, **headers}
        names = sorted(lines)
        signed = ";".join(names)
        canonical = "\n".join(
            (
                method,
                parts.path,
                parts.query,
                *(f"{name}:{' '.join(lines[name].split())}" for name in names),
                "",
                signed,
                payload_hash,
            )
        )
        scope = f"{now[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key(frozen.secret_key or "", now[:8]), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={frozen.access_key}/{scope}, SignedHeaders={signed}, "
            f"Signature={signature}"
        )

    def _key(self, secret: str, day: str) -> bytes:
        """Return the key of a day, made of the secret by four signatures, and kept until either changes."""
        if self._derived[:2] != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._derived = (secret, day, key)
        return self._derived[2]
