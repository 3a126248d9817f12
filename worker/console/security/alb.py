"""
Verify the user that an Application Load Balancer has authenticated.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html
"""

import asyncio
import re
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, cast

import aiohttp
import jwt
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import JsonValue

from worker.console.security.identity import Identity, Operators
from worker.domain.errors import ConfigurationError

log = structlog.get_logger(__name__)

HEADER: Final = "x-amzn-oidc-data"

MAX_KEYS: Final = 16
MAX_KEY_REQUESTS_PER_MINUTE: Final = 30
KEY_CACHE_S: Final = 3600.0
KEY_TIMEOUT_S: Final = 5.0
_MAX_KEY_BYTES: Final = 4096
_MINUTE_S: Final = 60.0

_ARN: Final = re.compile(
    r"arn:(?P<partition>aws|aws-us-gov|aws-cn):elasticloadbalancing:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
    r":\d{12}:loadbalancer/app/[A-Za-z0-9-]{1,32}/[0-9a-f]{16}"
)
_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class AlbAuthentication:
    """
    Verifies the claims that a load balancer signs for each request.

    Args:
        arn: ARN of the load balancer, the only accepted signer.
        issuer: Issuer of the identity provider; not compared if None.
        client_id: Client id of the load balancer at the identity provider; not compared if None.
        name_claim: Claim with the name of a user. An `email` counts only if the provider has verified it;
            otherwise, and where the claim is missing, the name is `sub`.
        groups_claim: Claim with the groups of a user.
        operators: The users who are operators.
        key_url: URL of the public keys, for tests; by default that of the load balancer's region.

    Raises:
        ConfigurationError: The ARN is missing or is not that of an Application Load Balancer.
    """

    hint = (
        "The load balancer has not confirmed who you are. "
        "Open the console at the address of the load balancer, and check WORKER_CONSOLE_ALB_ARN."
    )

    def __init__(
        self,
        *,
        arn: str | None,
        issuer: str | None,
        client_id: str | None,
        name_claim: str,
        groups_claim: str | None,
        operators: Operators,
        key_url: str | None = None,
    ) -> None:
        match = _ARN.fullmatch(arn or "")
        if match is None or arn is None:
            message = (
                f"WORKER_CONSOLE_ALB_ARN is {arn!r}, so the signer of claims cannot be compared: set it to "
                "arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID"
            )
            raise ConfigurationError(message)
        self._arn, self._issuer, self._client_id = arn, issuer, client_id
        self._name_claim, self._groups_claim = name_claim, groups_claim
        self._operators = operators
        self.key_url = key_url or _key_url(match["partition"], match["region"])
        self._keys = _PublicKeys(self.key_url)

    async def identify(self, request: web.Request) -> Identity | None:
        """Return the user in the claims of a request; None if they are missing or not valid."""
        values = request.headers.getall(HEADER, [])
        if len(values) != 1:  # the HTTP parser has rejected a value above 8,190 bytes
            return None
        try:
            claims = await self._verified(values[0])
        except (jwt.InvalidTokenError, jwt.InvalidKeyError) as error:
            log.debug("console.claims_rejected", reason=str(error))
            return None
        return self._operators.identity(self._name(claims), _texts(claims.get(self._groups_claim or "")))

    async def close(self) -> None:
        """Close the connections to the endpoint of the public keys."""
        await self._keys.close()

    async def _verified(self, token: str) -> Mapping[str, JsonValue]:
        """
        Return the claims of a token, verified.

        Raises:
            jwt.InvalidTokenError: The token is not valid.
        """
        header: Mapping[str, JsonValue] = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        if header.get("alg") != "ES256" or header.get("signer") != self._arn:
            message = "another algorithm or signer"
            raise jwt.InvalidTokenError(message)
        if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):  # it becomes part of a URL
            message = "the key id is not a UUID"
            raise jwt.InvalidTokenError(message)
        key = await self._keys.key(key_id)
        claims = cast(
            "dict[str, JsonValue]",
            jwt.decode(token, key, algorithms=["ES256"], options={"verify_aud": False, "verify_iat": False}),
        )
        # The signature covers the header, which has the expiry and the issuer too.
        _check_expiry(header.get("exp"))
        for name, expected, actual in (
            ("issuer", self._issuer, header.get("iss")),
            ("issuer", self._issuer, claims.get("iss", header.get("iss"))),
            ("client", self._client_id, header.get("client")),
        ):
            if expected is not None and actual != expected:
                message = f"another {name}"
                raise jwt.InvalidTokenError(message)
        return claims

    def _name(self, claims: Mapping[str, JsonValue]) -> str:
        is_unverified = self._name_claim == "email" and claims.get("email_verified") not in (True, "true")
        name = None if is_unverified else claims.get(self._name_claim)
        return name if isinstance(name, str) else str(claims.get("sub", ""))


def _check_expiry(expires_at: JsonValue) -> None:
    if not isinstance(expires_at, int | float) or expires_at <= time.time():
        message = "the token has expired, or its header does not have the time"
        raise jwt.ExpiredSignatureError(message)


def _texts(value: JsonValue) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    return frozenset(each for each in values if isinstance(each, str))


def _key_url(partition: str, region: str) -> str:
    if partition == "aws-us-gov":
        return f"https://s3-{region}.amazonaws.com/aws-elb-public-keys-prod-{region}"
    return f"https://public-keys.auth.elb.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


class _PublicKeys:
    """The public keys of a region's load balancers, cached, read with a bounded number of requests."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._cached: OrderedDict[str, tuple[EllipticCurvePublicKey, float]] = OrderedDict()
        self._requested_at: deque[float] = deque(maxlen=MAX_KEY_REQUESTS_PER_MINUTE)
        self._lock = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def key(self, key_id: str) -> EllipticCurvePublicKey:
        """
        Return the key with an id.

        Raises:
            jwt.InvalidKeyError: The region's load balancers have no such key.
            web.HTTPServiceUnavailable: The key cannot be read at present.
        """
        if (cached := self._fresh(key_id)) is not None:
            return cached
        async with self._lock:  # one request at a time
            if (cached := self._fresh(key_id)) is not None:
                return cached
            key = await self._read(key_id)
            self._cached[key_id] = key, time.monotonic() + KEY_CACHE_S
            while len(self._cached) > MAX_KEYS:
                self._cached.popitem(last=False)
            return key

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _fresh(self, key_id: str) -> EllipticCurvePublicKey | None:
        key, expires_at = self._cached.get(key_id, (None, 0.0))
        return key if time.monotonic() < expires_at else None

    async def _read(self, key_id: str) -> EllipticCurvePublicKey:
        now = time.monotonic()
        requested_at = self._requested_at
        if len(requested_at) == MAX_KEY_REQUESTS_PER_MINUTE and now - requested_at[0] < _MINUTE_S:
            raise _unavailable("too many unknown keys were requested")
        requested_at.append(now)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=KEY_TIMEOUT_S))
        try:
            async with self._session.get(f"{self._url}/{key_id}", allow_redirects=False) as response:
                body = await response.content.read(_MAX_KEY_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("console.key_unavailable", url=self._url, reason=str(error) or type(error).__name__)
            raise _unavailable("its endpoint is unreachable") from error
        if response.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:  # S3 is behind it
            message = f"the region has no key {key_id}"
            raise jwt.InvalidKeyError(message)
        if response.status != HTTPStatus.OK:
            raise _unavailable(f"its endpoint returned the status {response.status}")
        return _parsed(body)


def _parsed(pem: bytes) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise _unavailable("its endpoint returned something else") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        message = "the key is not one for ES256"
        raise jwt.InvalidKeyError(message)
    return key


def _unavailable(why: str) -> web.HTTPException:
    return web.HTTPServiceUnavailable(
        text=f"The load balancer's public key cannot be read, because {why}. "
        "Try again in a minute; the console needs HTTPS access to public-keys.auth.elb.REGION.amazonaws.com.",
        headers={"Retry-After": "60"},
    )
