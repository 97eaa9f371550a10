"""Trusted certificates are loaded once, and again after a change."""

import os
import ssl
from pathlib import Path

import pytest
from certificates import Authority, Certificate
from gateways import PEPPERS

from admin_api.reported_settings import SettingsError as AdminSettingsError
from admin_api.settings import DatabaseSettings
from admin_api.tls import trusted
from gateway.settings import Settings, SettingsError
from gateway.tls import TlsFiles, cure_tls


def test_system_certificates_are_loaded_once() -> None:
    assert trusted(None) is trusted(None)


def test_a_ca_file_is_reloaded_after_a_change(tmp_path: Path) -> None:
    file = Certificate(tmp_path).file
    first, again = trusted(file), trusted(file)
    changed_at = file.stat().st_mtime_ns
    Certificate(tmp_path)
    os.utime(file, ns=(changed_at + 1, changed_at + 1))

    assert first is again
    assert [len(context.get_ca_certs()) for context in (first, trusted(file))] == [1, 1]
    assert first.get_ca_certs() != trusted(file).get_ca_certs()


@pytest.mark.parametrize(("text", "error"), [(None, FileNotFoundError), ("no certificate", ssl.SSLError)])
def test_a_file_without_a_certificate_is_an_error(tmp_path: Path, text: str | None, error: type[OSError]) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)

    with pytest.raises(error):
        trusted(file)


def test_a_certificate_without_its_key_is_not_used(tmp_path: Path) -> None:
    """The one of before stays, until both are there."""
    authority = Authority(tmp_path, "ca")
    client, renewed = authority.issue("client"), authority.issue("renewed")
    files = TlsFiles(authority.file, client.file, client.key)
    first = files.context()

    client.file.write_bytes(renewed.file.read_bytes())
    half = files.context()
    client.key.write_bytes(renewed.key.read_bytes())

    assert half is first
    assert files.context() is not first


def test_a_key_with_a_password_is_an_error_and_asks_for_none(tmp_path: Path) -> None:
    issued = Authority(tmp_path, "ca").issue("client", password=b"secret")

    with pytest.raises(ssl.SSLError):
        TlsFiles(None, issued.file, issued.key).context()


def test_errors_that_are_none_of_tls_have_no_cure() -> None:
    assert cure_tls(ConnectionRefusedError("refused"), "LITEMAAS_REDIS") is None
    assert cure_tls(ssl.SSLError(1, "no reason"), "LITEMAAS_REDIS") is None


def test_files_that_cannot_be_used_are_named_before_a_program_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "ca")
    one, other, text = authority.issue("one"), authority.issue("other"), tmp_path / "text"
    text.write_text("no certificate")
    usual = {"DATABASE_URL": "postgresql://app:x@db/litemaas", "REDIS_URL": "rediss://redis", "KEY_PEPPERS": PEPPERS}
    usual |= {"LITELLM_URLS": "https://litellm", "LITELLM_API_KEY": "sk", "DATABASE_CA_FILE": str(tmp_path / "none")}
    wrong = {
        "REDIS_CA_FILE": str(text),
        "LITELLM_CA_FILE": str(authority.file),
        "LITELLM_CERT_FILE": str(one.file),
        "LITELLM_KEY_FILE": str(other.key),
    }
    for name, value in {**usual, **wrong}.items():
        monkeypatch.setenv(f"LITEMAAS_{name}", value)

    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    with pytest.raises(AdminSettingsError, match=r"LITEMAAS_DATABASE_CA_FILE: .* cannot be read"):
        DatabaseSettings.from_env()

    lines = str(caught.value).splitlines()[1:]
    assert [line.split(": ")[0].strip() for line in lines] == [
        "LITEMAAS_DATABASE_CA_FILE", "LITEMAAS_REDIS_CA_FILE", "LITEMAAS_LITELLM_CERT_FILE, LITEMAAS_LITELLM_KEY_FILE",
    ]  # fmt: skip
    assert all(words in line for words, line in zip(("No such file", "PEM", "key that belongs"), lines, strict=True))


def test_a_key_needs_its_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEMAAS_DATABASE_URL", "postgresql://app:x@db/litemaas")
    monkeypatch.setenv("LITEMAAS_DATABASE_KEY_FILE", str(Authority(tmp_path, "ca").issue("one").key))

    with pytest.raises(AdminSettingsError, match="its certificate is missing, LITEMAAS_DATABASE_CERT_FILE"):
        DatabaseSettings.from_env()
