"""
TLS in front of an AWS on this machine, with a certificate authority made at run time.

The proxy is a process of its own, so that its CPU time is part of no peer's.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from yarl import URL

from bench.common.paths import ROOT
from bench.common.peers import PeerFailedError, stop


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    A certificate for 127.0.0.1.

    Attributes:
        authority: PEM file of the certificate authority that clients have to trust.
        server: PEM file of the server's private key and certificate.
    """

    authority: Path
    server: Path

    @classmethod
    def issue(cls, folder: Path) -> "Certificate":
        """Make a certificate authority, issue a certificate, and write both to the folder."""
        authority = trustme.CA()
        issued = cls(folder / "authority.pem", folder / "server.pem")
        authority.cert_pem.write_to_path(str(issued.authority))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(issued.server))
        return issued

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which AWS clients in Python and in Node.js trust the authority."""
        return {"AWS_CA_BUNDLE": str(self.authority), "NODE_EXTRA_CA_CERTS": str(self.authority)}


@asynccontextmanager
async def tls_proxy(endpoint_url: str, certificate: Certificate) -> AsyncIterator[str]:
    """
    Run a proxy that terminates TLS in front of a plain HTTP endpoint of 127.0.0.1, and yield its URL.

    Raises:
        PeerFailedError: The proxy does not start; its error is on stderr.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.common.tls_proxy", certificate.server, str(URL(endpoint_url).port)),
        cwd=ROOT,
        stdin=subprocess.PIPE,  # the proxy exits when this closes, even if this process is killed
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        port = (await process.stdout.readline()).decode().strip()
        if not port:
            message = f"the TLS proxy for {endpoint_url} does not start; its error is above"
            raise PeerFailedError(message)
        yield f"https://127.0.0.1:{port}"
    finally:
        await stop(process)
