"""Only claims that the configured load balancer has signed for a current session are accepted."""

import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

from tests.support.emulators import a_free_port
from tests.support.secured import SAME_ORIGIN, Response, Secured, secured
from worker.console.security import SecurityOptions
from worker.console.security.alb import MAX_KEY_REQUESTS_PER_MINUTE, MAX_KEYS, AlbAuthentication
from worker.console.security.identity import Operators
from worker.telemetry.http_server import http_server

ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/console/0123456789abcdef"
KEY_ID = "12345678-1234-1234-1234-123456789012"
OPTIONS = SecurityOptions(
    authentication="alb",
    url="https://console.example.com",
    alb_arn=ARN,
    alb_issuer="https://idp.example.com",
    alb_client_id="console",
    operators=("alice@example.com",),
    groups_claim="groups",
    operator_groups=("admins",),
)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def encoded(content: bytes) -> str:
    """Return the content as a load balancer encodes it: base64url with padding."""
    return base64.urlsafe_b64encode(content).decode()


def head(**changes: Any) -> dict[str, Any]:
    values = {
        "alg": "ES256",
        "kid": KEY_ID,
        "signer": ARN,
        "iss": "https://idp.example.com",
        "client": "console",
        "exp": int(time.time()) + 120,
    } | changes
    return {name: value for name, value in values.items() if value is not ...}


def claims(**changes: Any) -> dict[str, Any]:
    values = {
        "sub": "0f1e-alice",
        "email": "alice@example.com",
        "email_verified": "true",
        "exp": int(time.time()) + 120,
        "iss": "https://idp.example.com",
    } | changes
    return {name: value for name, value in values.items() if value is not ...}


def token(
    header: dict[str, Any] | None = None,
    payload: dict[str, Any] | None = None,
    key: ec.EllipticCurvePrivateKey = KEY,
) -> str:
    """Return a token, signed as a load balancer does: over the padded segments."""
    parts = (header or head(), payload or claims())
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    size = (key.curve.key_size + 7) // 8
    return f"{signed}.{encoded(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"


def pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


@dataclass
class KeyServer:
    """The endpoint of a region's public keys."""

    keys: dict[str, bytes] = field(default_factory=lambda: {KEY_ID: pem(KEY)})
    status: int = 200
    requests: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.Response:
        key_id = request.match_info["key_id"]
        self.requests[key_id] += 1
        if self.status != 200:
            return web.Response(status=self.status, headers={"Location": "/elsewhere"})
        found = self.keys.get(key_id)
        return web.Response(body=found) if found is not None else web.Response(status=403, text="<Error/>")


@asynccontextmanager
async def console(
    options: SecurityOptions = OPTIONS, server: KeyServer | None = None
) -> AsyncIterator[Secured]:
    server = server or KeyServer()
    port = a_free_port()
    app = web.Application()
    app.router.add_get("/{key_id:.*}", server.handle)
    async with (
        http_server(app, host="127.0.0.1", port=port),
        secured(options, alb_key_url=f"http://127.0.0.1:{port}") as running,
    ):
        yield running


async def get(running: Secured, *tokens: str) -> Response:
    headers = [("x-amzn-oidc-data", each) for each in tokens]
    return await running.request(headers=headers, host="console.example.com")


@pytest.mark.parametrize("sub", ["a", "ab", "abc"])
async def test_a_token_of_the_load_balancer_is_accepted_with_its_padding(sub: str) -> None:
    async with console() as running:
        response = await get(running, token(payload=claims(sub=sub)))
        assert (response.status, response.text) == (200, "alice@example.com True")


def altered(original: str, segment: int, content: bytes) -> str:
    parts = original.split(".")
    parts[segment] = encoded(content)
    return ".".join(parts)


def signed_with_the_public_key() -> str:
    """Return a token of HS256 whose secret is the public key that is public."""
    signed = f"{encoded(json.dumps(head(alg='HS256')).encode())}.{encoded(json.dumps(claims()).encode())}"
    signature = hmac.HMAC(pem(KEY), hashes.SHA256())
    signature.update(signed.encode())
    return f"{signed}.{encoded(signature.finalize())}"


REJECTED = {
    "algorithm none": lambda: token(head(alg="none")).rpartition(".")[0] + ".",
    "algorithm None": lambda: token(head(alg="None")).rpartition(".")[0] + ".",
    "no algorithm": lambda: token(head(alg=...)),
    "HS256 with the public key": signed_with_the_public_key,
    "another algorithm in the header": lambda: token(head(alg="RS256")),
    "ES384 in the header": lambda: token(head(alg="ES384")),
    "another key": lambda: token(key=OTHER_KEY),
    "another load balancer": lambda: token(head(signer=ARN.replace("console", "others"))),
    "no signer": lambda: token(head(signer=...)),
    "a list of signers": lambda: token(head(signer=[ARN])),
    "expired in the header": lambda: token(head(exp=int(time.time()) - 1)),
    "expired in the claims": lambda: token(payload=claims(exp=int(time.time()) - 1)),
    "no expiry in the header": lambda: token(head(exp=...)),
    "an expiry as text": lambda: token(head(exp="9999999999")),
    "an infinite expiry": lambda: token(head(exp=True)),
    "not valid before tomorrow": lambda: token(payload=claims(nbf=int(time.time()) + 86_400)),
    "another issuer in the header": lambda: token(head(iss="https://evil.example")),
    "another issuer in the claims": lambda: token(payload=claims(iss="https://evil.example")),
    "no issuer": lambda: token(head(iss=...), claims(iss=...)),
    "another client": lambda: token(head(client="others")),
    "no client": lambda: token(head(client=...)),
    "an unknown key": lambda: token(head(kid=KEY_ID.replace("1", "2"))),
    "no key": lambda: token(head(kid=...)),
    "a key id that is a path": lambda: token(head(kid="../../elsewhere")),
    "a key id that is a URL": lambda: token(head(kid="//evil.example/key")),
    "a key id with a query": lambda: token(head(kid=f"{KEY_ID}?a=b")),
    "a key id with a line feed": lambda: token(head(kid=f"{KEY_ID}\n")),
    "a number as the key id": lambda: token(head(kid=1)),
    "altered claims": lambda: altered(token(), 1, json.dumps(claims(email="mallory@example.com")).encode()),
    "an altered header": lambda: altered(token(), 0, json.dumps(head(kid=KEY_ID, extra=1)).encode()),
    "no signature": lambda: token().rpartition(".")[0] + ".",
    "an empty signature of zeros": lambda: altered(token(), 2, bytes(64)),
    "characters after the signature": lambda: token() + "!!!!",
    "two segments": lambda: token().rpartition(".")[0],
    "four segments": lambda: token() + ".a",
    "no segments": lambda: "",
    "not base64": lambda: "!!!.???.###",
    "header that is not JSON": lambda: altered(token(), 0, b"{"),
    "header that is a list": lambda: altered(token(), 0, b"[]"),
    "deeply nested header": lambda: altered(token(), 0, b"[" * 6000),
    "claims that are a list": lambda: token(payload=[1]),  # type: ignore[arg-type] # not claims
    "critical extensions": lambda: token(head(crit=["exp"])),
    "a key inside the token": lambda: token(
        head(jwk={"kty": "EC"}, jku="https://evil.example"), key=OTHER_KEY
    ),
    "no user": lambda: token(payload=claims(sub=..., email=...)),
    "a name with a line feed": lambda: token(payload=claims(email="alice@example.com\n")),
    "a huge header": lambda: token(payload=claims(padding="a" * 8000)),
}


@pytest.mark.parametrize("case", REJECTED)
async def test_every_other_token_is_rejected(case: str) -> None:
    server = KeyServer()
    async with console(server=server) as running:
        response = await get(running, REJECTED[case]())
        assert response.status in {400, 401}
        assert "alice" not in response.text
        assert set(server.requests) <= {KEY_ID, KEY_ID.replace("1", "2")}


async def test_a_missing_or_repeated_header_is_rejected() -> None:
    async with console() as running:
        assert (await get(running)).status == 401
        assert (await get(running, token(), token())).status == 401
        assert (await get(running, token(key=OTHER_KEY), token())).status == 401


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["RSA", "P-384"],
)
async def test_a_key_of_another_kind_is_rejected(key: Any) -> None:
    async with console(server=KeyServer(keys={KEY_ID: pem(key)})) as running:
        assert (await get(running, token())).status == 401


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"email_verified": True}, "alice@example.com True"),
        ({"email_verified": "false"}, "0f1e-alice False"),
        ({"email_verified": False}, "0f1e-alice False"),
        ({"email_verified": ...}, "0f1e-alice False"),
        ({"email": ...}, "0f1e-alice False"),
        ({"email": ["alice@example.com"]}, "0f1e-alice False"),
        ({"email_verified": False, "groups": ["staff", "admins"]}, "0f1e-alice True"),
        ({"email_verified": False, "groups": "admins"}, "0f1e-alice True"),
        ({"email_verified": False, "groups": [["admins"], {"admins": 1}]}, "0f1e-alice False"),
    ],
    ids=[
        "verified",
        "not verified",
        "false",
        "unknown",
        "no address",
        "a list",
        "in a group",
        "one group",
        "nested",
    ],
)
async def test_an_address_that_any_user_may_have_entered_names_no_operator(
    changes: dict[str, Any], name: str
) -> None:
    async with console() as running:
        assert (await get(running, token(payload=claims(**changes)))).text == name


async def test_the_claim_with_the_name_can_be_chosen() -> None:
    async with console(replace(OPTIONS, name_claim="upn", operators=("alice",))) as running:
        assert (await get(running, token(payload=claims(upn="alice")))).text == "alice True"


async def test_issuer_and_client_are_compared_only_if_set() -> None:
    async with console(replace(OPTIONS, alb_issuer=None, alb_client_id=None)) as running:
        assert (await get(running, token(head(iss="b", client="b"), claims(iss="b")))).status == 200


async def test_an_operator_acts_from_the_page() -> None:
    async with console() as running:
        headers = [("x-amzn-oidc-data", token()), *SAME_ORIGIN]
        assert (await running.request("POST", "/act", headers, host="console.example.com")).status == 200


async def test_a_key_is_read_once() -> None:
    server = KeyServer()
    async with console(server=server) as running:
        for _ in range(3):
            assert (await get(running, token())).status == 200
    assert server.requests == {KEY_ID: 1}


@pytest.mark.parametrize("status", [302, 500, 503])
async def test_an_endpoint_that_fails_makes_the_console_unavailable_for_a_while(status: int) -> None:
    server = KeyServer(status=status)
    async with console(server=server) as running:
        response = await get(running, token())
        assert response.status == 503
        assert "Try again" in response.text
        server.status = 200
        assert (await get(running, token())).status == 200
    assert "elsewhere" not in server.requests


@pytest.mark.parametrize("content", [b"", b"<html>", b"a" * 1_000_000])
async def test_an_endpoint_that_returns_something_else_is_unavailable(content: bytes) -> None:
    async with console(server=KeyServer(keys={KEY_ID: content})) as running:
        assert (await get(running, token())).status == 503


async def test_an_endpoint_without_a_connection_is_unavailable() -> None:
    async with secured(OPTIONS, alb_key_url=f"http://127.0.0.1:{a_free_port()}") as running:
        assert (await get(running, token())).status == 503


async def test_unknown_keys_cause_a_bounded_number_of_requests_and_kept_keys() -> None:
    server = KeyServer()
    async with console(server=server) as running:
        assert (await get(running, token())).status == 200
        for number in range(MAX_KEY_REQUESTS_PER_MINUTE + 5):
            await get(running, token(head(kid=f"{number:08}{KEY_ID[8:]}")))
        assert (await get(running, token())).status == 200
    assert server.requests.total() == MAX_KEY_REQUESTS_PER_MINUTE
    assert MAX_KEYS < MAX_KEY_REQUESTS_PER_MINUTE


async def test_only_the_newest_keys_are_kept() -> None:
    ids = [f"{number:08}{KEY_ID[8:]}" for number in range(MAX_KEYS + 1)]
    server = KeyServer(keys=dict.fromkeys(ids, pem(KEY)))
    async with console(server=server) as running:
        for key_id in (*ids, ids[-1], ids[0]):
            assert (await get(running, token(head(kid=key_id)))).status == 200
    assert server.requests == {**dict.fromkeys(ids, 1), ids[0]: 2}


async def test_no_more_of_a_response_is_parsed_than_a_key_has() -> None:
    server = KeyServer(keys={KEY_ID: b" " * 5_000 + pem(KEY)})
    async with console(server=server) as running:
        assert (await get(running, token())).status == 503


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        (ARN, "https://public-keys.auth.elb.eu-west-1.amazonaws.com"),
        (
            ARN.replace("arn:aws:", "arn:aws-us-gov:").replace("eu-west-1", "us-gov-west-1"),
            "https://s3-us-gov-west-1.amazonaws.com/aws-elb-public-keys-prod-us-gov-west-1",
        ),
    ],
)
def test_the_keys_are_those_of_the_region_of_the_load_balancer(arn: str, url: str) -> None:
    authentication = AlbAuthentication(
        arn=arn, issuer=None, client_id=None, name_claim="sub", groups_claim=None, operators=Operators()
    )
    assert authentication.key_url == url
