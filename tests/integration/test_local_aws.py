import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import aiohttp
import pytest

from tests.support.emulators import client, receive_keys, stack_name_of, unique_settings
from worker.bootstrap import deploy_storage
from worker.domain.errors import ConfigurationError
from worker.local import embedded_aws as aws
from worker.local.embedded_aws import (
    EMBEDDED_CREDENTIALS,
    EMBEDDED_REGION,
    embedded_aws,
    embedded_environment,
)


async def test_state_is_kept_across_restarts_on_the_same_directory(tmp_path: Path) -> None:
    async with embedded_aws(tmp_path) as endpoint_url:
        settings = unique_settings(endpoint_url)
        async with (
            client("cloudformation", settings) as cloudformation,
            client("dynamodb", settings) as dynamodb,
            client("s3", settings) as s3,
        ):
            await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
            await s3.put_object(Bucket=settings.bucket, Key="uploads/user/a.jpg", Body=b"picture")
            item = {"imageId": {"S": "a"}, "userId": {"S": "user"}}
            await dynamodb.put_item(TableName=settings.table_name, Item=item)

    async with embedded_aws(tmp_path) as endpoint_url:
        settings = settings.model_copy(update={"endpoint_url": endpoint_url})
        async with (
            client("cloudformation", settings) as cloudformation,
            client("dynamodb", settings) as dynamodb,
            client("s3", settings) as s3,
            client("sqs", settings) as sqs,
        ):
            deployment = await deploy_storage(
                cloudformation, dynamodb, settings, stack_name=stack_name_of(settings)
            )
            assert deployment.done == "unchanged"
            response = await s3.get_object(Bucket=settings.bucket, Key="uploads/user/a.jpg")
            async with response["Body"] as body:
                assert await body.read() == b"picture"
            key = {"imageId": {"S": "a"}, "userId": {"S": "user"}}
            assert (await dynamodb.get_item(TableName=settings.table_name, Key=key))["Item"] == item
            await s3.put_object(Bucket=settings.bucket, Key="uploads/user/b.jpg", Body=b"picture")
            assert await receive_keys(sqs, settings) == ["uploads/user/a.jpg", "uploads/user/b.jpg"]


async def test_without_a_directory_no_files_are_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with embedded_aws():
        assert len(_entries(tmp_path)) == 1
    assert _entries(tmp_path) == []


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_it_saves_its_state_and_exits_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", dedent(_PARENT), str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).startswith(b"http://127.0.0.1:")
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(20):
        await asyncio.to_thread(_wait_for_exit, tmp_path)
    async with embedded_aws(tmp_path) as endpoint_url, client("s3", unique_settings(endpoint_url)) as s3:
        assert [bucket["Name"] for bucket in (await s3.list_buckets())["Buckets"]] == ["kept"]


_PARENT = """
    import asyncio, pathlib, sys
    from tests.support.emulators import client, unique_settings
    from worker.local.embedded_aws import embedded_aws

    async def main():
        async with embedded_aws(pathlib.Path(sys.argv[1])) as url:
            async with client("s3", unique_settings(url)) as s3:
                await s3.create_bucket(Bucket="kept")
            print(url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())
"""


def _wait_for_exit(directory: Path) -> None:
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


async def test_on_sigterm_it_saves_its_state_and_exits(tmp_path: Path) -> None:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.local.aws_server", str(tmp_path), "--keep"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    port = int((await server.stdout.readline()).removeprefix(b"listening "))
    async with client("s3", unique_settings(f"http://127.0.0.1:{port}")) as s3:
        await s3.create_bucket(Bucket="kept")
    server.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await server.wait() == 0
    assert "kept" in (tmp_path / "state" / "s3.json").read_text()


async def test_a_directory_is_used_by_one_embedded_aws_at_a_time(tmp_path: Path) -> None:
    async with embedded_aws(tmp_path):
        with pytest.raises(ConfigurationError, match="another embedded AWS uses"):
            async with embedded_aws(tmp_path):
                pass


async def test_a_port_in_use_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 cannot be used"):
            async with embedded_aws(port=port):
                pass


async def test_the_port_can_be_chosen(free_port: int) -> None:
    async with embedded_aws(port=free_port) as endpoint_url:
        assert endpoint_url == f"http://127.0.0.1:{free_port}"


async def test_a_directory_that_cannot_be_created_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot keep its state in"):
        async with embedded_aws(tmp_path / "file"):
            pass


async def test_without_ministack_the_error_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'image-worker\[local\]'"):
        async with embedded_aws():
            pass


async def test_an_error_at_startup_contains_the_last_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hypercorn.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(ConfigurationError, match="does not start: ImportError: broken on purpose"):
        async with embedded_aws():
            pass


def test_the_parent_process_does_not_import_ministack() -> None:
    program = (
        "import sys, worker.local.embedded_aws; "
        "print([m for m in ('ministack', 'hypercorn') if m in sys.modules])"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert printed == "[]\n"


async def test_only_one_port_is_opened(ministack_endpoint: str) -> None:
    ready = f"{ministack_endpoint}/_ministack/ready"
    async with aiohttp.ClientSession() as session, session.get(ready) as response:
        assert (await response.json())["iot_mtls"] == "disabled"


def test_its_environment_contains_what_a_client_needs() -> None:
    environment = embedded_environment("http://127.0.0.1:1")
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_REGION"] == EMBEDDED_REGION
    assert environment["AWS_ACCESS_KEY_ID"] == EMBEDDED_CREDENTIALS["aws_access_key_id"]
    assert environment["AWS_SESSION_TOKEN"] == ""
