"""Certificates of servers that tests start."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificate:
    """A self-signed certificate for 127.0.0.1: a CA file and a server context. Less than nothing has expired."""

    def __init__(self, folder: Path, *, valid_for: timedelta = timedelta(hours=1)) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server of a test")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + valid_for)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file, key_file = folder / "server.pem", folder / "server.key"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file, key_file)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in PEM."""

    file: Path
    key: Path

    def put_into(self, other: "Issued") -> None:
        """Replaces the content of its files, the certificate first: for a moment the pair does not fit."""
        for ours, theirs in ((self.file, other.file), (self.key, other.key)):
            theirs.write_bytes(ours.read_bytes())

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.file.read_bytes()).public_bytes(serialization.Encoding.DER)


class Authority:
    """A private CA. Less than nothing has expired."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._subject, self._key = folder, _named(name), ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        made = _unsigned(self._subject, self._subject, self._key, timedelta(hours=1))
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *, valid_for: timedelta = timedelta(hours=1), password: bytes | None = None) -> Issued:
        """For a server at 127.0.0.1, or for a client. `localhost` is no name of it."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _unsigned(_named(name), self._subject, key, valid_for)
        hosts = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = made.add_extension(hosts, False).add_extension(signer, False).sign(self._key, hashes.SHA256())
        issued = Issued(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(_pem(key, password))
        issued.key.chmod(0o600)
        return issued


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid_for: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return made.not_valid_after(now + valid_for).add_extension(identifier, critical=False)


def _pem(key: ec.EllipticCurvePrivateKey, password: bytes | None) -> bytes:
    kept = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept)
