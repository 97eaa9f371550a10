"""Trusted certificates are loaded once, and again after a change."""

import os
import ssl
from pathlib import Path

import pytest
from certificates import Certificate

from admin_api.tls import trusted


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
