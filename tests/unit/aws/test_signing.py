"""Signatures, held against botocore's own."""

from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote

from aiobotocore.credentials import AioCredentials
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from worker.aws.fast_path.signing import Signer

AT = datetime(2026, 3, 1, 23, 59, 58, tzinfo=UTC)
HOSTS = ("https://pictures.s3.eu-west-1.amazonaws.com", "http://127.0.0.1:4566", "http://[::1]:4566/aws")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
METADATA = st.dictionaries(st.sampled_from(["x-amz-meta-attempt", "x-amz-meta-b", "if-match"]), PRINTABLE)


def botocore_says(method: str, url: str, headers: dict[str, str], body: bytes, *, token: str | None) -> str:
    """Return the signature that botocore gives a request with these headers at `AT`."""
    service = "s3" if "x-amz-content-sha256" in headers else "dynamodb"
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    signing = kind(AioCredentials("AKID", "secret", token), service, "eu-west-1")
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["timestamp"] = headers["x-amz-date"]
    canonical = signing.canonical_request(request)
    return str(signing.signature(signing.string_to_sign(request, canonical), request))


async def signed(
    method: str, url: str, headers: dict[str, str], body: bytes, *, token: str | None, at: datetime = AT
) -> dict[str, str]:
    """Return the headers with our signature among them."""
    service = "s3" if "x-amz-content-sha256" in headers else "dynamodb"
    signer = Signer(AioCredentials("AKID", "secret", token), region="eu-west-1", service=service)
    await signer.sign(method, url, headers, payload_hash=sha256(body).hexdigest(), at=at)
    return headers


@given(
    host=st.sampled_from(HOSTS),
    key=st.text(min_size=1, max_size=40),
    version=st.none() | PRINTABLE,
    metadata=METADATA,
    body=st.binary(max_size=40),
    token=st.none() | st.just("session/token+="),
)
async def test_a_request_for_an_object_is_signed_as_botocore_signs_it(
    host: str, key: str, version: str | None, metadata: dict[str, str], body: bytes, token: str | None
) -> None:
    url = f"{host}/{quote(key.encode('utf-8', 'surrogatepass'), safe='/~')}"
    url += f"?versionId={quote(version, safe='~')}" if version else ""
    headers = {**metadata, "x-amz-content-sha256": sha256(body).hexdigest()}
    got = await signed("PUT", url, headers, body, token=token)
    authorization = got.pop("authorization")
    assert authorization.endswith(f"Signature={botocore_says('PUT', url, got, body, token=token)}")
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKID/20260301/eu-west-1/s3/aws4_request, ")
    assert got.get("x-amz-security-token") == token


@given(body=st.binary(max_size=200), token=st.none() | st.just("session/token+="))
async def test_a_request_in_json_is_signed_as_botocore_signs_it(body: bytes, token: str | None) -> None:
    url = "https://dynamodb.eu-west-1.amazonaws.com/"
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.UpdateItem"}
    got = await signed("POST", url, headers, body, token=token)
    said = botocore_says(
        "POST", url, {k: v for k, v in got.items() if k != "authorization"}, body, token=token
    )
    assert got["authorization"].endswith(f"Signature={said}")


async def test_a_new_day_and_new_credentials_get_a_key_of_their_own() -> None:
    credentials = AioCredentials("AKID", "secret")
    signer = Signer(credentials, region="eu-west-1", service="dynamodb")
    url, hashed = "https://dynamodb.eu-west-1.amazonaws.com/", sha256(b"{}").hexdigest()
    for at, secret in ((AT, "secret"), (datetime(2026, 3, 2, tzinfo=UTC), "secret"), (AT, "another")):
        credentials.secret_key = secret
        reused: dict[str, str] = {}
        await signer.sign("POST", url, reused, payload_hash=hashed, at=at)
        fresh: dict[str, str] = {}
        anew = Signer(AioCredentials("AKID", secret), region="eu-west-1", service="dynamodb")
        await anew.sign("POST", url, fresh, payload_hash=hashed, at=at)
        assert reused == fresh
