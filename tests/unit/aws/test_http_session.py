"""SSL contexts of the AWS clients, of which each takes time and memory."""

from pathlib import Path
from ssl import SSLContext
from typing import cast

import certifi

from bench.common.tls import Certificate
from worker.aws.http_session import HttpSession


def context_of(session: HttpSession, *, proxy_url: str | None = None) -> SSLContext:
    return session._build_ssl_contexts(proxy_url)[0]


def test_clients_share_an_ssl_context() -> None:
    assert context_of(HttpSession()) is context_of(HttpSession())


def test_clients_that_trust_other_authorities_have_another_ssl_context() -> None:
    default = context_of(HttpSession())

    assert context_of(HttpSession(verify=cast("bool", certifi.where()))) is not default
    assert context_of(HttpSession(verify=False)) is not default


def test_a_client_certificate_or_proxy_has_an_ssl_context_of_its_own(tmp_path: Path) -> None:
    default = context_of(HttpSession())
    identified = HttpSession(client_cert=str(Certificate.issue(tmp_path).server))

    assert context_of(identified) is not default
    assert context_of(HttpSession(), proxy_url="http://proxy.test:8080") is not default
