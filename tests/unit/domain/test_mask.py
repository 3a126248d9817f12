import pytest

from worker.domain.mask import mask_secrets


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "secret",
        "client_secret",
        "SecretAccessKey",
        "aws_access_key_id",
        "sessionToken",
        "X-Amz-Security-Token",
        "access_token",
        "Authorization",
        "api_key",
        "credentials",
    ],
)
def test_a_field_named_as_a_credential_is_masked(name: str) -> None:
    assert mask_secrets({name: "s3cr3t"}) == {name: "[masked]"}


@pytest.mark.parametrize(
    "name",
    ["token", "next_token", "nextToken", "page_token", "fencing_token", "key", "keys", "bucket", "pass"],
)
def test_a_field_with_a_similar_name_is_kept(name: str) -> None:
    assert mask_secrets({name: "kept"}) == {name: "kept"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=AKIA%2Fs3&X-Amz-Signature=0fe1&partNumber=2",
            "GET https://b.s3.amazonaws.com/k?X-Amz-Credential=[masked]&X-Amz-Signature=[masked]&partNumber=2",
        ),
        ("?X-Amz-Security-Token=FwoGZ%2B/=&a=1", "?X-Amz-Security-Token=[masked]&a=1"),
        ("key AKIAIOSFODNN7EXAMPLE and ASIAIOSFODNN7EXAMPLE", "key [masked] and [masked]"),
        ("aws_secret_access_key = wJalrXUtn/K7", "aws_secret_access_key = [masked]"),
        ('{"SecretAccessKey": "wJalr", "Bucket": "b"}', '{"SecretAccessKey": "[masked]", "Bucket": "b"}'),
        ('{"SessionToken":"abc"}', '{"SessionToken":"[masked]"}'),
        ("password=hunter2, user=me", "password=[masked], user=me"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/2024, SignedHeaders=host, Signature=ff",
            "Authorization: AWS4-HMAC-SHA256 [masked]",
        ),
        ("authorization: Bearer abc.def", "authorization: Bearer [masked]"),
        ("http://me:pass@localhost:4566/", "http://[masked]@localhost:4566/"),
    ],
)
def test_a_credential_in_a_text_is_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "uploads/user_1/img_1.jpg?X-Amz-Expires=300",
        "nextToken=abc",
        "the lease's fencing token: 7",
        "https://image-uploads.s3.amazonaws.com/me@home.jpg",
        "s3://image-uploads/uploads/user@example.com/img.jpg",
    ],
)
def test_text_without_credentials_is_unchanged(text: str) -> None:
    assert mask_secrets(text) == text


def test_credentials_are_masked_at_any_depth() -> None:
    value = {"response": {"headers": [{"authorization": "x"}, ("http://a:b@c/", 1, None, True)]}}
    assert mask_secrets(value) == {
        "response": {"headers": [{"authorization": "[masked]"}, ["http://[masked]@c/", 1, None, True]]}
    }
