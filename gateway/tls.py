"""TLS to the servers behind the programs: files of certificates, contexts that follow these files, and what an operator
does about a handshake that fails."""

import ssl
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

# Of TLS 1.2 and 1.3, in the words of OpenSSL: a server that wants a client certificate, or another one.
WANTS_CERTIFICATE: Final = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")
NO_TLS: Final = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
MAX_CAUSES: Final = 10


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `ca`: the CAs to trust and no others, None: those of the system. `certificate`, `key`: for a server
    that asks for a client certificate; None for the key: it is in the file of the certificate."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        return any(astuple(self))

    def context(self) -> ssl.SSLContext:
        """For the next connection. It is read again when a file has changed; the one of before stays while the new
        files cannot be read. Raises OSError (ssl.SSLError is one) where there is none before.

        Cached, since reading the system's takes 20 ms of processor time, more than the rest of a message. The system's
        are read once."""
        return _kept(self).context()

    def read(self) -> ssl.SSLContext:
        """Raises OSError."""
        made = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        if self.certificate is not None:
            # Without a password OpenSSL would ask for one at the terminal.
            made.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        return made

    def stamp(self) -> list[tuple[int, int, int]]:
        """Another one when a file has changed. Raises OSError."""
        found = [file.stat() for file in astuple(self) if file is not None]
        return [(one.st_mtime_ns, one.st_ino, one.st_size) for one in found]


NO_FILES: Final = TlsFiles()


class _Kept:
    """The last context that could be made of the files."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp: list[tuple[int, int, int]] | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        try:
            stamp = self._files.stamp()
            if self._context is None or stamp != self._stamp:
                # The stamp is older than what is read: a change in between is seen at the next connection.
                self._context, self._stamp = self._files.read(), stamp
        except OSError as exc:
            if self._context is None:
                raise
            # A certificate that is being replaced, before its key is. Imported only here: every command loads this.
            import structlog

            log = structlog.get_logger(__name__)
            log.warning(
                "certificates_not_read", files=[str(one) for one in astuple(self._files) if one], cause=str(exc)
            )
        return self._context


@lru_cache(maxsize=64)
def _kept(files: TlsFiles) -> _Kept:
    return _Kept(files)


def cure_tls(error: BaseException, settings: str) -> str | None:
    """What an operator does about a failed handshake; None for another failure. `settings` is how the names of the
    server's settings begin, as LITEMAAS_REDIS."""
    failed = next((one for one in _causes(error) if isinstance(one, ssl.SSLError)), None)
    if failed is None:
        return None
    if isinstance(failed, ssl.SSLCertVerificationError):
        return _cure_certificate(failed.verify_message, settings)
    reason = (getattr(failed, "reason", None) or "").upper()
    if "ALERT" in reason and any(word in reason for word in WANTS_CERTIFICATE):
        return cure_refused_client(settings)
    if any(word in reason for word in NO_TLS):
        return "it does not speak TLS at this port: correct the port, or switch TLS on there"
    return None


def cure_refused_client(settings: str) -> str:
    """Where a server wants another client certificate. `settings` as for `cure_tls`."""
    return (
        f"it does not accept the client certificate, or asks for one: set {settings}_CERT_FILE and {settings}_KEY_FILE "
        "to one that its CA has signed and that has not expired"
    )


def _cure_certificate(said: str, settings: str) -> str:
    if "expired" in said:
        return "renew its certificate; see that what renews it by itself (cert-manager, certbot) works"
    if "not valid for" in said or "mismatch" in said:
        return "name the server in the setting as its certificate does, or give it a certificate with this name"
    return f"set {settings}_CA_FILE to the file of the CA that signed it"


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if one is None:
            return
        yield one
        one = one.__cause__ or one.__context__
