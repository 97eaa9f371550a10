"""Certificates of servers: trusted, for the right name, and not about to expire."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from admin_api.operations.doctor.findings import Findings
from admin_api.tls import trusted

EXPIRES_SOON_S: Final = 14 * 24 * 3600.0
CONNECT_S: Final = 5.0
# Of Postgres's protocol: its length, and the code by which a client asks for TLS.
ASK_POSTGRES: Final = (8).to_bytes(4) + (80877103).to_bytes(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsServer:
    """Where a certificate is looked at. `setting` names the CA file in the environment."""

    name: str
    host: str
    port: int
    setting: str
    ca_file: Path | None = None
    is_postgres: bool = False

    @classmethod
    def of_url(cls, name: str, url: str | None, setting: str, ca_file: Path | None = None) -> "list[TlsServer]":
        """The server of an https address; none of another."""
        parts = urlsplit(url or "")
        if parts.scheme != "https" or not parts.hostname:
            return []
        return [cls(name=name, host=parts.hostname, port=parts.port or 443, setting=setting, ca_file=ca_file)]


async def check_certificates(found: Findings, servers: Sequence[TlsServer]) -> None:
    """Looks at all at once."""
    if not servers:
        found.ok("No setting names a server with TLS.")
    await asyncio.gather(*(_check(found, server) for server in servers))


async def _check(found: Findings, server: TlsServer) -> None:
    place = f"{server.name} at {server.host}:{server.port}"
    try:
        expires_at = await asyncio.to_thread(_expiry, server)
    except ssl.SSLCertVerificationError as exc:
        _explain(found, place, exc, server.setting)
    except ssl.SSLError as exc:
        found.problem(
            f"{place} speaks no TLS that can be used ({exc.reason}).", "Look at its TLS settings and its port."
        )
    except OSError as exc:
        found.problem(
            f"{place} cannot be reached ({exc or type(exc).__name__}).",
            "Look whether it runs, and whether a network policy or firewall lets this machine through.",
        )
    else:
        left_s = expires_at - time.time()
        if left_s < EXPIRES_SOON_S:
            found.warn(
                f"The certificate of {place} expires in {left_s / 86400:.0f} days.",
                "Renew it now; see that what renews it by itself (cert-manager, certbot) works.",
            )
        else:
            found.ok(f"The certificate of {place} is valid for {left_s / 86400:.0f} more days.")


def _explain(found: Findings, place: str, exc: ssl.SSLCertVerificationError, setting: str) -> None:
    said = exc.verify_message.rstrip(".")
    if "expired" in said:
        cure = "Renew the certificate; see that what renews it by itself (cert-manager, certbot) works."
    elif "not valid for" in said or "mismatch" in said:
        cure = "Name the server in the setting as its certificate does, or give it a certificate with this name."
    else:
        cure = f"Set {setting} to the file of the CA that signed it."
    found.problem(f"The certificate of {place} is not accepted: {said}.", cure)


def _expiry(server: TlsServer) -> float:
    """When the certificate expires. Raises OSError, ssl.SSLError."""
    context = trusted(server.ca_file)
    with socket.create_connection((server.host, server.port), timeout=CONNECT_S) as plain:
        if server.is_postgres:
            plain.sendall(ASK_POSTGRES)
            if plain.recv(1) != b"S":
                raise OSError("Postgres has TLS switched off")
        with context.wrap_socket(plain, server_hostname=server.host) as connection:
            certificate = connection.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))
