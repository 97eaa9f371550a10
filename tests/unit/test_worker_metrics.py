"""Metrics files of workers: a damaged one fails no scrape and loses no other worker's counts."""

import json
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict

from gateway.scrape import scrape

KEY = json.dumps(["litemaas_calls", "litemaas_calls_total", {"endpoint": "embeddings"}, "Calls"])


def write(file: Path, count: float) -> bytes:
    """In the format of prometheus-client."""
    values = MmapedDict(str(file))  # type: ignore[no-untyped-call]  # untyped there
    values.write_value(KEY, count, 0)  # type: ignore[no-untyped-call]  # untyped there
    values.close()  # type: ignore[no-untyped-call]  # untyped there
    return file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0\0",
        b"\0" * 65_536,
        b"\x60\0\0\0\0\0\0\0\xff\xff\xff\0" + b"\0" * 200,
        b"\x40\0\0\0\0\0\0\0\x10\0\0\0not json {{{{{{{" + b"\0" * 200,
        b"\x40\0\0\0\0\0\0\0\x10\0\0\0" + b"\xff" * 200,
    ],
    ids=["empty", "torn head", "no values yet", "longer than it is", "no key", "no text"],
)
def test_a_damaged_metrics_file_does_not_affect_the_others(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path / "counter_1.db", 3)
    write(tmp_path / "counter_2.db", 4)
    (tmp_path / f"counter_{os.getpid()}.db").write_bytes(damage)

    text = scrape(str(tmp_path)).decode()

    assert 'litemaas_calls_total{endpoint="embeddings"} 7.0' in text


def test_a_damaged_metrics_file_is_logged_once(tmp_path: Path, logged: list[MutableMapping[str, Any]]) -> None:
    write(tmp_path / "counter_1.db", 3)
    (tmp_path / "counter_2.db").write_bytes(b"\x09\0")

    for _ in range(3):
        assert b"3.0" in scrape(str(tmp_path))

    assert [line["event"] for line in logged] == ["metrics_file_left_out"]
    assert logged[0]["file"].endswith("counter_2.db")


def test_gauge_files_of_a_dead_worker_may_disappear_during_a_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers are scraped at the same moment: both find the files of a dead one."""
    write(tmp_path / "counter_1.db", 3)
    left = tmp_path / "gauge_livesum_4194303.db"
    left.touch()
    remove = os.remove

    def another_was_faster(file: str) -> None:
        remove(file)
        remove(file)

    monkeypatch.setattr(os, "remove", another_was_faster)

    assert b"3.0" in scrape(str(tmp_path))
    assert not left.exists()
