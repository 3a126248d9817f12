"""`image-worker health`."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET6
from threading import Thread

import pytest

from worker.cli.app import run


class Endpoint(BaseHTTPRequestHandler):
    """Serves /healthz with the status of the class."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(b"ok" if self.status == 200 else b"no decoder is running")

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


class HTTPServerV6(HTTPServer):
    """An HTTP server on IPv6."""

    address_family = AF_INET6


@contextmanager
def serving(host: str, *, status: int = 200) -> Iterator[int]:
    """Serve /healthz on a free port of the host."""
    server_class = HTTPServerV6 if ":" in host else HTTPServer
    with server_class((host, 0), type("E", (Endpoint,), {"status": status})) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("served_on", "setting"),
    [
        ("127.0.0.1", "0.0.0.0"),  # noqa: S104 - the address that is tested
        ("::1", "::"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("127.0.0.1", "localhost"),
    ],
)
def test_the_loopback_address_is_requested_when_the_worker_listens_on_all_addresses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served_on: str, setting: str
) -> None:
    with serving(served_on) as port:
        monkeypatch.setenv("WORKER_HTTP_HOST", setting)
        monkeypatch.setenv("WORKER_HTTP_PORT", str(port))
        assert run(["health"]) == 0
    assert capsys.readouterr() == ("ok\n", "")


def test_an_unhealthy_worker_ends_with_1_and_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving("127.0.0.1", status=503) as port:
        monkeypatch.setenv("WORKER_HTTP_HOST", "127.0.0.1")
        monkeypatch.setenv("WORKER_HTTP_PORT", str(port))
        assert run(["health"]) == 1
    assert capsys.readouterr() == ("", "no decoder is running\n")


def test_a_worker_that_does_not_respond_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving("127.0.0.1") as port:
        pass  # the port is free again
    monkeypatch.setenv("WORKER_HTTP_PORT", str(port))
    assert run(["health"]) == 1
    assert f"no response from 127.0.0.1 port {port} (ConnectionRefusedError)" in capsys.readouterr().err
