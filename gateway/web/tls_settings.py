"""Settings that name files of certificates: read at the start, so that a wrong one is a message and no failed call."""

import ssl
from typing import Final, Self

from pydantic import model_validator

from gateway.tls import TlsFiles
from gateway.web.env_settings import EnvSettings

CA_FILE: Final = "_ca_file"
PREFIX: Final = "LITEMAAS_"


class TlsSettings(EnvSettings):
    """For settings with fields `…_ca_file`, and maybe `…_cert_file` and `…_key_file` beside them."""

    def tls(self, server: str) -> TlsFiles:
        """The files of `database`, `redis`, `litellm`, …"""
        return TlsFiles(*(getattr(self, f"{server}_{kind}_file", None) for kind in ("ca", "cert", "key")))

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        servers = [name.removesuffix(CA_FILE) for name in type(self).model_fields if name.endswith(CA_FILE)]
        if faults := [fault for server in servers if (fault := self._fault(server))]:
            raise ValueError("\n  ".join(faults))
        return self

    def _fault(self, server: str) -> str | None:
        files, named = self.tls(server), f"{PREFIX}{server.upper()}"
        if files.key is not None and files.certificate is None:
            return f"{named}_KEY_FILE: its certificate is missing, {named}_CERT_FILE"
        try:
            if files.ca is not None:
                TlsFiles(ca=files.ca).read()
        except OSError as exc:
            return f"{named}_CA_FILE: {_said(exc, str(files.ca), 'a certificate')}"
        try:
            if files:
                files.context()
        except OSError as exc:
            said = _said(exc, f"{files.certificate} or its key", "a certificate and the key that belongs to it")
            return f"{named}_CERT_FILE, {named}_KEY_FILE: {said}"
        return None


def _said(error: OSError, file: str, content: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{file} does not contain {content}, in PEM ({error.reason or error})"
    return f"{error.filename or file} cannot be read ({error.strerror})"
