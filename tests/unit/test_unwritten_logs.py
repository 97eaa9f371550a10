"""What can not be written to the log fails nobody."""

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.web.logs import configure_logs


class FullDisk(io.RawIOBase):
    """Takes nothing."""

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(28, "No space left on device")


@pytest.fixture
def unchanged() -> Iterator[None]:
    """The log is set up for the whole process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("is_closed", [False, True], ids=["full", "closed"])
def test_a_log_that_takes_nothing_fails_nobody(monkeypatch: pytest.MonkeyPatch, is_closed: bool) -> None:
    file = io.TextIOWrapper(io.BytesIO() if is_closed else FullDisk(), write_through=True)
    monkeypatch.setattr(sys, "stderr", file)
    configure_logs("info")
    if is_closed:
        file.close()

    structlog.get_logger().warning("something_happened", of="something")


@pytest.mark.usefixtures("unchanged")
def test_a_log_that_is_there_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(data, write_through=True))
    configure_logs("info")

    structlog.get_logger().warning("something_happened", of="something")

    assert b'"event":"something_happened"' in data.getvalue()
