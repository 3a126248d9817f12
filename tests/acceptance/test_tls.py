"""`image-worker` over TLS: certificates are verified, for every AWS call."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.common.tls import Certificate, tls_proxy
from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, quadrants


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    folder = tmp_path / "trusted"
    folder.mkdir()
    return Certificate.issue(folder)


@pytest.fixture
async def tls_endpoint(ministack_endpoint: str, certificate: Certificate) -> AsyncIterator[str]:
    """The emulator of the session by HTTPS."""
    async with tls_proxy(ministack_endpoint, certificate) as url:
        yield url


async def test_a_worker_completes_images_over_tls(
    with_resources: Command, tls_endpoint: str, certificate: Certificate, tmp_path: Path
) -> None:
    pictures = [tmp_path / f"{number}.jpg" for number in range(3)]
    for picture in pictures:
        picture.write_bytes(encoded(quadrants(1200, 900)))
    over_tls = {"AWS_ENDPOINT_URL": tls_endpoint, **certificate.environment}

    async with with_resources.started("run", **over_tls) as worker:
        await until_logged(worker, "service.started")
        result = await with_resources.run(
            "upload", *map(str, pictures), "--user", "alice", "--wait", "--json", **over_tls
        )

    assert result.status == 0, result.stderr
    assert [image["status"] for image in json.loads(result.stdout)["images"]] == ["completed"] * 3


@pytest.mark.parametrize("arguments", [("run",), ("images", "list", "--user", "alice")], ids=" ".join)
async def test_a_certificate_of_an_unknown_authority_is_rejected(
    arguments: tuple[str, ...], with_resources: Command, tls_endpoint: str, tmp_path: Path
) -> None:
    other = Certificate.issue(tmp_path)

    result = await with_resources.run(*arguments, AWS_ENDPOINT_URL=tls_endpoint, **other.environment)

    assert result.status == 2, result.stderr
    assert tls_endpoint in result.stderr
    assert "certificate verify failed" in result.stderr
    assert "set AWS_CA_BUNDLE" in result.stderr
