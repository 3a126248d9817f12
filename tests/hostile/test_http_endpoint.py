"""The HTTP endpoint under attack: connections that send nothing, half a request, or garbage."""

import asyncio
import json
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.emulators import variables_of
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import USER, upload, wait_until_processed
from worker.local.embedded_aws import embedded_environment
from worker.settings import Settings
from worker.telemetry.endpoint import endpoint
from worker.telemetry.http_server import HttpLimits, http_server
from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

HALF_A_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OPEN_FILES = 256
PROBE = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
"""Address of the health check; the attacker has another."""


@contextmanager
def open_files(limit: int) -> Iterator[None]:
    """Raise the limit of open files of this process to the number that an attacker needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < limit:
        pytest.skip(f"the hard limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connected(stack: ExitStack, port: int, data: bytes = b"") -> socket.socket:
    """Return an open connection that has sent the data."""
    loop = asyncio.get_running_loop()
    connection = stack.enter_context(socket.socket())
    connection.setblocking(False)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    if data:
        await loop.sock_sendall(connection, data)
    return connection


async def response_to(port: int, request: bytes, *, source: str = "127.0.0.1") -> bytes:
    """Return the response to a request, read until the server closes the connection."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


async def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes the connection."""
    async with asyncio.timeout(10):
        try:
            while await asyncio.get_running_loop().sock_recv(connection, 4096):
                pass
        except ConnectionResetError:
            pass
    return True


@asynccontextmanager
async def serving(port: int, limits: HttpLimits) -> AsyncIterator[None]:
    """Serve `/healthz`, and `/slow`, which takes until the test ends."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def slow(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def stream(request: web.Request) -> web.StreamResponse:
        """Send each part of the body back as it arrives, and one more part when all has arrived."""
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_any():
            await response.write(part)
        await asyncio.sleep(float(request.query.get("pause_s", 0)))
        await response.write(b"end")
        return response

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/slow", slow)
    app.router.add_post("/upload", healthy)
    app.router.add_post("/stream", stream)
    async with http_server(app, host="127.0.0.1", port=port, limits=limits):
        yield


async def test_a_new_connection_closes_the_one_that_was_idle_longest(free_port: int) -> None:
    async with serving(free_port, HttpLimits(connections=4)):
        with ExitStack() as stack:
            half_open = [await connected(stack, free_port, HALF_A_REQUEST) for _ in range(4)]
            assert b"200 OK" in await response_to(free_port, HEALTH)
            assert await is_closed(half_open[0])
            for connection in half_open[1:]:
                await asyncio.get_running_loop().sock_sendall(connection, b"x\r\n\r\n")
                assert b"200 OK" in await asyncio.get_running_loop().sock_recv(connection, 4096)


@pytest.mark.skipif(PROBE == "127.0.0.1", reason="this system has only one loopback address")
async def test_the_client_with_the_most_connections_loses_them_first(free_port: int) -> None:
    async with serving(free_port, HttpLimits(connections=4)), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port, local_addr=(PROBE, 0))
        with ExitStack() as stack:
            for _ in range(20):
                await connected(stack, free_port, HALF_A_REQUEST)
            assert b"200 OK" in await response_to(free_port, HEALTH)
            writer.write(HEALTH)
            assert b"200 OK" in await reader.read()
            writer.close()


async def test_a_connection_with_a_request_in_progress_is_closed_last(free_port: int) -> None:
    async with serving(free_port, HttpLimits(connections=2)):
        with ExitStack() as stack:
            slow = await connected(stack, free_port, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in await response_to(free_port, HEALTH)  # until then, the slow request has begun
            half_open = [await connected(stack, free_port, HALF_A_REQUEST) for _ in range(10)]
            assert b"200 OK" in await response_to(free_port, HEALTH)
            assert await is_closed(half_open[0])
            with pytest.raises(BlockingIOError):
                slow.recv(1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HALF_A_REQUEST,
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf a body",
    ],
    ids=["nothing", "half a header", "half a body"],
)
async def test_a_client_has_a_limited_time_to_send_a_request(free_port: int, data: bytes) -> None:
    async with serving(free_port, HttpLimits(request_s=0.2, keepalive_s=60)):
        with ExitStack() as stack:
            assert await is_closed(await connected(stack, free_port, data))


UPLOAD = b"POST /stream%s HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n"


async def test_a_handler_can_read_a_body_that_takes_longer_than_a_request(free_port: int) -> None:
    async with serving(free_port, HttpLimits(request_s=0.2, body_s=30)), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(UPLOAD % b"" + b"half")
        await reader.readuntil(b"half")
        await asyncio.sleep(0.4)  # longer than `request_s`
        writer.write(b"rest")
        await reader.readuntil(b"rest")
        await reader.readuntil(b"end")
        writer.close()


async def test_a_client_has_a_limited_time_to_send_a_body_that_is_read_as_it_arrives(free_port: int) -> None:
    async with serving(free_port, HttpLimits(body_s=0.2)):
        with ExitStack() as stack:
            assert await is_closed(await connected(stack, free_port, UPLOAD % b"" + b"half"))
            assert b"200 OK" in await response_to(free_port, HEALTH)


async def test_a_response_may_take_longer_than_the_body_of_its_request(free_port: int) -> None:
    async with serving(free_port, HttpLimits(body_s=0.2)), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(UPLOAD % b"?pause_s=0.5" + b"all of it"[:8])
        await reader.readuntil(b"end")
        writer.close()


async def test_a_body_that_no_handler_reads_does_not_keep_its_connection_open(free_port: int) -> None:
    async with serving(free_port, HttpLimits(body_s=60, keepalive_s=60)):
        with ExitStack() as stack:
            upload = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"
            assert await is_closed(await connected(stack, free_port, upload))


async def test_a_client_has_a_limited_time_to_send_its_second_request(free_port: int) -> None:
    async with serving(free_port, HttpLimits(request_s=0.2, keepalive_s=60)):
        with ExitStack() as stack:
            connection = await connected(stack, free_port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            loop = asyncio.get_running_loop()
            assert b"200 OK" in await loop.sock_recv(connection, 4096)
            await loop.sock_sendall(connection, HALF_A_REQUEST)
            assert await is_closed(connection)


async def test_a_connection_is_kept_open_for_a_limited_time_between_requests(free_port: int) -> None:
    async with serving(free_port, HttpLimits(keepalive_s=0.2)):
        with ExitStack() as stack:
            connection = await connected(stack, free_port, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await is_closed(connection)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: a", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: a", 200),
        (b"GET /readyz HTTP/1.1\r\nHost: a", 503),
        (b"GET /metrics HTTP/1.1\r\nHost: a", 200),
        (b"GET /absent HTTP/1.1\r\nHost: a", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0", 405),
        (b"POST /healthz HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 0", 417),
        (b"no request", 400),
        (b"GET /healthz HTTP/9.9", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10_000, 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk", 400),
    ],
    ids=[
        "health",
        "head",
        "unready",
        "metrics",
        "absent",
        "method",
        "expectation",
        "no request",
        "version",
        "long header",
        "no chunk",
    ],
)
async def test_no_response_has_a_version_or_lets_a_browser_guess_its_type(
    free_port: int, request_line: bytes, status: int
) -> None:
    serving_endpoint = endpoint(
        host="127.0.0.1",
        port=free_port,
        metrics=Metrics(),
        why_unhealthy=lambda: None,
        why_unready=lambda: "starting",
    )
    async with serving_endpoint:
        response = await response_to(free_port, request_line + b"\r\nConnection: close\r\n\r\n")

    head, _, body = response.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(head.split()[1]) == status
    assert headers["Server"] == "image-worker"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "aiohttp" not in response.decode()
    assert "Python" not in head.decode()
    assert bool(body) is not request_line.startswith(b"HEAD")


async def test_a_body_above_the_limit_is_rejected(free_port: int) -> None:
    async with serving(free_port, HttpLimits()):
        head = b"POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n"
        assert b" 413 " in await response_to(free_port, head + b"x" * 2000)


async def test_requests_that_never_end_are_not_logged(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    requests = [
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf a body",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf a chunk",
        b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
    async with serving(free_port, HttpLimits(request_s=0.2, keepalive_s=0.2)):
        with ExitStack() as stack:
            for request in requests:
                assert await is_closed(await connected(stack, free_port, request))
            for request in requests:
                (await connected(stack, free_port, request)).close()
        assert b"200 OK" in await response_to(free_port, HEALTH)

    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_a_failed_accept_neither_ends_nor_floods_the_server(
    free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = iter([OSError(24, "Too many open files")] * 3)
    accept = socket.socket.accept

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if error := next(failures, None):
            raise error
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    async with serving(free_port, HttpLimits()):
        assert b"200 OK" in await response_to(free_port, HEALTH)

    assert capsys.readouterr().out.count("http.connections_closed") == 1


@pytest.mark.timeout(180)
async def test_five_thousand_half_open_connections_neither_stop_health_nor_images(
    tmp_path: Path,
    ministack_endpoint: str,
    provisioned: Settings,
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
    free_port: int,
) -> None:
    image_ids = [f"img_{number}" for number in range(8)]
    content = encoded(quadrants(800, 600))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({OPEN_FILES}, {OPEN_FILES}))\n"
        "import sys; sys.argv = ['image-worker', 'run']\n"
        "from worker.__main__ import main; main()",
        cwd=tmp_path,
        env={
            "PATH": "",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **embedded_environment(ministack_endpoint),
            **variables_of(provisioned),
            "WORKER_PROCESSES": "1",
            "WORKER_WAIT_TIME_S": "1",
            "WORKER_HTTP_PORT": str(free_port),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    log = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(60):
            while not await is_healthy(free_port):
                await asyncio.sleep(0.1)
        with open_files(6000), ExitStack() as stack:
            healthy = []
            for number in range(5000):
                await connected(stack, free_port, HALF_A_REQUEST)
                if number % 500 == 0:
                    healthy.append(await is_healthy(free_port))
            attackers = [asyncio.create_task(reconnect(free_port)) for _ in range(200)]
            for image_id in image_ids:
                await upload(s3, provisioned, image_id, content)
            images = await wait_until_processed(dynamodb, provisioned, *image_ids, user_id=USER)
            healthy += [await is_healthy(free_port) for _ in range(5)]
            for attacker in attackers:
                attacker.cancel()
            await asyncio.gather(*attackers, return_exceptions=True)
    finally:
        process.terminate()
        _, stderr = await log

    assert all(healthy)
    assert {image.status for image in images} == {"completed"}
    assert len(stderr) < 50_000
    events = [json.loads(line)["event"] for line in stderr.decode().splitlines()]
    assert events.count("http.connections_closed") <= 3
    assert process.returncode == 0


async def reconnect(port: int) -> None:
    """Send half a request again and again, whenever the server closes the connection."""
    while True:
        with ExitStack() as stack:
            await is_closed(await connected(stack, port, HALF_A_REQUEST))


async def is_healthy(port: int) -> bool:
    try:
        return b"200 OK" in await response_to(port, HEALTH, source=PROBE)
    except OSError:
        return False
