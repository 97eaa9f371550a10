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

from cryptography.x509 import load_pem_x509_certificate

from admin_api.operations.doctor.findings import Findings
from gateway.tls import NO_FILES, TlsFiles, cure_refused_client, cure_tls

RENEW: Final = "Renew it now; see that what renews it by itself (cert-manager, certbot) works."
EXPIRES_SOON_S: Final = 14 * 24 * 3600.0
CONNECT_S: Final = 5.0
# A server without TLS 1.3 has refused before.
REFUSAL_S: Final = 0.5
# Of Postgres's protocol: its length, and the code by which a client asks for TLS.
ASK_POSTGRES: Final = (8).to_bytes(4) + (80877103).to_bytes(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsServer:
    """Where a certificate is looked at. `settings` is how the names of its settings begin, as LITEMAAS_REDIS."""

    name: str
    host: str
    port: int
    settings: str
    tls: TlsFiles = NO_FILES
    is_postgres: bool = False

    @classmethod
    def of_url(cls, name: str, url: str | None, settings: str, tls: TlsFiles) -> "list[TlsServer]":
        """The server of an https address; none of another."""
        parts = urlsplit(url or "")
        if parts.scheme != "https" or not parts.hostname:
            return []
        return [cls(name=name, host=parts.hostname, port=parts.port or 443, settings=settings, tls=tls)]


async def check_certificates(found: Findings, servers: Sequence[TlsServer], unencrypted: Sequence[str]) -> None:
    """Looks at all servers at once, and at the client certificates that are shown to them."""
    if not servers:
        found.ok("No setting names a server with TLS.")
    for name in unencrypted:
        scheme = "rediss://" if name.endswith("REDIS") else "https://"
        found.problem(
            f"{name}_CA_FILE or {name}_CERT_FILE is set, and the connection is not encrypted: {name}_URL"
            f"{'' if name.endswith('REDIS') else 'S'} does not begin with {scheme}.",
            f"Begin the address with {scheme}, or remove the file from the settings.",
        )
    shown = {server.settings: server.tls.certificate for server in servers if server.tls.certificate is not None}
    for name, file in shown.items():
        _check_client_certificate(found, f"{name}_CERT_FILE", file)
    await asyncio.gather(*(_check(found, server) for server in servers))


def _check_client_certificate(found: Findings, name: str, file: Path) -> None:
    try:
        expires_at = load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        found.problem(f"The client certificate of {name} cannot be read.", "Set it to a certificate in PEM.")
        return
    left_s = expires_at - time.time()
    if left_s < 0:
        found.problem(f"The client certificate of {name} has expired.", RENEW)
    elif left_s < EXPIRES_SOON_S:
        found.warn(f"The client certificate of {name} expires in {left_s / 86400:.0f} days.", RENEW)
    else:
        found.ok(f"The client certificate of {name} is valid for {left_s / 86400:.0f} more days.")


async def _check(found: Findings, server: TlsServer) -> None:
    place = f"{server.name} at {server.host}:{server.port}"
    try:
        expires_at = await asyncio.to_thread(_expiry, server)
    except ssl.SSLCertVerificationError as exc:
        said = exc.verify_message.rstrip(".")
        found.problem(f"The certificate of {place} is not accepted: {said}.", _sentence(exc, server))
    except ssl.SSLError as exc:
        said = "refuses this client" if "ALERT" in (exc.reason or "") else "speaks no TLS that can be used"
        found.problem(f"{place} {said} ({exc.reason}).", _sentence(exc, server))
    except ConnectionResetError:
        found.warn(
            f"{place} breaks the connection after the handshake, as servers do that want another client certificate.",
            _capitalized(cure_refused_client(server.settings)),
        )
    except OSError as exc:
        found.problem(
            f"{place} cannot be reached ({exc or type(exc).__name__}).",
            "Look whether it runs, and whether a network policy or firewall lets this machine through.",
        )
    else:
        left_s = expires_at - time.time()
        if left_s < EXPIRES_SOON_S:
            found.warn(f"The certificate of {place} expires in {left_s / 86400:.0f} days.", RENEW)
        else:
            found.ok(f"The certificate of {place} is valid for {left_s / 86400:.0f} more days.")


def _sentence(error: ssl.SSLError, server: TlsServer) -> str:
    return _capitalized(cure_tls(error, server.settings) or "look at its TLS settings and its port")


def _capitalized(cure: str) -> str:
    return f"{cure[0].upper()}{cure[1:]}."


def _expiry(server: TlsServer) -> float:
    """When the certificate expires. Raises OSError, ssl.SSLError."""
    context = server.tls.context()
    with socket.create_connection((server.host, server.port), timeout=CONNECT_S) as plain:
        if server.is_postgres:
            plain.sendall(ASK_POSTGRES)
            if plain.recv(1) != b"S":
                raise OSError("Postgres has TLS switched off")
        with context.wrap_socket(plain, server_hostname=server.host) as connection:
            certificate = connection.getpeercert() or {}
            _await_refusal(connection)
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))


def _await_refusal(connection: ssl.SSLSocket) -> None:
    """In TLS 1.3 a server refuses a client certificate after the handshake. Raises ssl.SSLError if it does,
    ConnectionResetError if it does so in a hurry; one that accepts it waits for what is asked."""
    connection.settimeout(REFUSAL_S)
    try:
        connection.recv(1)
    except ssl.SSLError as exc:
        if cure_tls(exc, "") is not None:
            raise
    except TimeoutError:
        return
