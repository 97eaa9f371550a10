"""A log that cannot be written raises no error in the code that logs."""

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.web.logs import configure_logs


class FullDisk(io.RawIOBase):
    """Fails every write."""

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Restores the logging configuration, which is global."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("is_closed", [False, True], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_raises_nothing(monkeypatch: pytest.MonkeyPatch, is_closed: bool) -> None:
    file = io.TextIOWrapper(io.BytesIO() if is_closed else FullDisk(), write_through=True)
    monkeypatch.setattr(sys, "stderr", file)
    configure_logs("info")
    if is_closed:
        file.close()

    structlog.get_logger().warning("something_happened", of="something")


@pytest.mark.usefixtures("logging_restored")
def test_a_working_log_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(data, write_through=True))
    configure_logs("info")

    structlog.get_logger().warning("something_happened", of="something")

    assert b'"event":"something_happened"' in data.getvalue()
