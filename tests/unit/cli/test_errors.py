"""Error messages of the command line."""

from typing import Any

import pytest
from botocore import exceptions as aws
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from worker.cli.support.errors import CliError, explain
from worker.domain.errors import ConfigurationError, LeaseLostError, TransientError
from worker.settings import Settings


def client_error(code: str, message: str = "", call: str = "GetItem") -> aws.ClientError:
    return aws.ClientError({"Error": {"Code": code, "Message": message}}, call)


def redirect(region: str) -> aws.ClientError:
    response: Any = {"Error": {"Code": "PermanentRedirect", "Region": region}}  # S3 adds the region
    return aws.ClientError(response, "PutObject")


def error_of_settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((ValidationError, SettingsError)) as raised:
        Settings()
    explained = explain(raised.value)
    assert explained is not None
    assert explained.is_usage_error
    return explained.message


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORKER_MAX_BYTES", "abc", "WORKER_MAX_BYTES: 'abc' is not a whole number (default: 83886080)"),
        ("WORKER_QUALITY", "900", "WORKER_QUALITY: '900' is more than 100 (default: 82)"),
        ("WORKER_CONCURRENCY", "0", "WORKER_CONCURRENCY: '0' is less than 1"),
        ("WORKER_STEP_TIMEOUT_S", "soon", "WORKER_STEP_TIMEOUT_S: 'soon' is not a number (default: 30.0)"),
        ("WORKER_STEP_TIMEOUT_S", "0", "WORKER_STEP_TIMEOUT_S: '0' is not more than 0 (default: 30.0)"),
        (
            "WORKER_WATERMARK_ENABLED",
            "perhaps",
            "WORKER_WATERMARK_ENABLED: 'perhaps' is neither true nor false (default: True)",
        ),
        (
            "WORKER_LOG_LEVEL",
            "loud",
            "WORKER_LOG_LEVEL: 'loud' is not one of debug, info, warning, error (default: info)",
        ),
        (
            "WORKER_LOG_FORMAT",
            "xml",
            "WORKER_LOG_FORMAT: 'xml' is not 'auto', 'console' or 'json' (default: auto)",
        ),
        (
            "WORKER_EXTRA_SIZES",
            "thumbnail",
            'WORKER_EXTRA_SIZES: not valid JSON; write a list as ["thumbnail", "large"]',
        ),
    ],
)
def test_an_invalid_setting_is_reported_with_the_problem_and_its_default(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    assert error_of_settings(monkeypatch, **{variable: value}) == message


def test_all_invalid_settings_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of_settings(monkeypatch, WORKER_MAX_FRAMES="x", WORKER_MAX_PIXELS="y")
    assert "WORKER_MAX_FRAMES: 'x'" in message
    assert "WORKER_MAX_PIXELS: 'y'" in message


@pytest.mark.parametrize(
    ("values", "problem", "fix"),
    [
        ({"WORKER_UPLOADS_PREFIX": "in"}, "WORKER_UPLOADS_PREFIX is 'in'", "it must end with a slash"),
        ({"WORKER_PROCESSED_PREFIX": "uploads/done/"}, "overlap in one bucket", "WORKER_OUTPUT_BUCKET"),
        ({"WORKER_UPLOAD_KEY": "{imageId}.{ext}"}, "which does not contain {userId}", "WORKER_UPLOAD_USER"),
        (
            {"WORKER_UPLOAD_KEY": "{imageId}.{ext}", "WORKER_UPLOAD_USER": "shop"},
            "the prefix of WORKER_UPLOAD_KEY '' overlap in one bucket",
            "WORKER_OUTPUT_BUCKET",
        ),
        (
            {"WORKER_UPLOAD_KEY": "processed/{userId}/{imageId}"},
            "the prefix of WORKER_UPLOAD_KEY 'processed/' overlap in one bucket",
            "WORKER_OUTPUT_BUCKET",
        ),
        (
            {"WORKER_UPLOAD_KEY": "photos/{userId}/{imageId}", "WORKER_UPLOADS_PREFIX": "in/"},
            "which does not begin with WORKER_UPLOADS_PREFIX 'in/'",
            "begin it with {prefix}",
        ),
        ({"WORKER_DEFAULT_SIZE": "huge"}, "WORKER_DEFAULT_SIZE contains 'huge'", "WORKER_SIZES"),
        (
            {"WORKER_WATERMARK_MIN_PX": "50", "WORKER_WATERMARK_MAX_PX": "20"},
            "WORKER_WATERMARK_MIN_PX is 50, above WORKER_WATERMARK_MAX_PX",
            "lower the first or raise the second",
        ),
        ({"WORKER_FONT_FILES": '["/no/such.ttf"]'}, "WORKER_FONT_FILES", "/no/such.ttf, which is not a file"),
    ],
)
def test_a_violated_rule_across_settings_is_reported_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], problem: str, fix: str
) -> None:
    message = error_of_settings(monkeypatch, **values)

    assert problem in message
    assert fix in message


def test_a_secret_in_the_wrong_setting_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    message = error_of_settings(monkeypatch, WORKER_MAX_BYTES="AKIAIOSFODNN7EXAMPLE")
    assert message.startswith("WORKER_MAX_BYTES: '[masked]' is not a whole number")


@pytest.mark.parametrize(
    ("error", "start", "is_usage_error"),
    [
        (aws.NoCredentialsError(), "no usable AWS credentials were found", True),
        (aws.NoRegionError(), "no AWS region is set; set AWS_REGION", True),
        (aws.ProfileNotFound(profile="bob"), "the config profile (bob) could not be found; set AWS_", True),
        (
            aws.EndpointConnectionError(endpoint_url="http://me:secret@localhost:4566/"),
            "http://[masked]@localhost:4566/ cannot be reached (EndpointConnectionError); check AWS",
            True,
        ),
        (
            aws.SSLError(endpoint_url="https://host", error=OSError("certificate verify failed")),
            "https://host cannot be reached by TLS (certificate verify failed); check the clock",
            True,
        ),
        (
            aws.ReadTimeoutError(endpoint_url="http://host"),
            "http://host did not respond in time (",
            False,
        ),
        (
            client_error("AccessDeniedException", "no GetItem"),
            "AWS does not allow GetItem (no GetItem); al",
            True,
        ),
        (client_error("ExpiredToken"), "AWS rejected the credentials (GetItem: they have expired)", True),
        (client_error("InvalidClientTokenId"), "AWS rejected the credentials (GetItem: InvalidClie", True),
        (
            client_error("ResourceNotFoundException", "Requested resource not found"),
            "GetItem: Requested resource not found; run `image-worker provision`, or correct its name",
            True,
        ),
        (
            redirect("eu-west-1"),
            "the bucket is in the region eu-west-1 (PutObject); set AWS_REGION=eu-west-1",
            True,
        ),
        (
            client_error("InternalServerError", "oops"),
            "GetItem failed with InternalServerError: oops",
            False,
        ),
        (ValueError("Invalid endpoint: localhost:4566"), "AWS_ENDPOINT_URL is 'localhost:4566': write", True),
        (
            FileNotFoundError(2, "No such file or directory", "a.jpg"),
            "a.jpg: no such file or directory",
            False,
        ),
        (LeaseLostError(image_id="img_1", attempt=2), "img_1: attempt 2 no longer holds the lease", False),
    ],
)
def test_an_expected_error_is_explained(
    error: Exception,
    start: str,
    is_usage_error: bool,
) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained.message.startswith(start)
    assert explained.is_usage_error == is_usage_error
    assert "\n" not in explained.message


def test_an_expected_error_in_an_exception_group_is_explained() -> None:
    group = ExceptionGroup("tasks", [KeyError("x"), ExceptionGroup("inner", [ConfigurationError("set X")])])
    assert explain(group) == CliError("set X", is_usage_error=True)


def test_an_error_raised_from_itself_is_explained() -> None:
    error = TransientError("could not list the backups")
    error.__cause__ = error
    assert explain(error) == CliError("could not list the backups", is_usage_error=False)


def test_a_transient_error_is_explained_by_its_cause_only_if_that_is_permanent() -> None:
    timed_out, denied = TransientError("could not read the image"), TransientError("could not read the image")
    timed_out.__cause__ = aws.ReadTimeoutError(endpoint_url="http://host")
    denied.__cause__ = client_error("AccessDenied")
    explained_timeout, explained_denial = explain(timed_out), explain(denied)
    assert explained_timeout == CliError("could not read the image", is_usage_error=False)
    assert explained_denial is not None
    assert explained_denial.message.startswith("AWS does not allow GetItem; ")


def test_an_unexpected_error_is_not_explained() -> None:
    class Other(BaseModel):
        number: int

    with pytest.raises(ValidationError) as raised:
        Other.model_validate({"number": "x"})
    assert explain(raised.value) is None
    assert explain(KeyError("x")) is None
