"""A log line that stays the same is written once in a while; another one at once."""

import json
import subprocess
import sys
from typing import Any

import pytest
import structlog

from gateway.web.logs import MAX_LINES, SAME_AFTER_S, SameLines


class Written:
    """What got through, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[dict[str, Any]] = []
        self.same_lines = SameLines(lambda: self.now)

    def log(self, level: str, **fields: Any) -> None:
        try:
            self.lines.append(dict(self.same_lines(None, level, dict(fields))))
        except structlog.DropEvent:
            return


@pytest.mark.parametrize("level", ["warning", "error"])
def test_what_waits_for_another_program_says_so_once_and_again_after_a_while(level: str) -> None:
    written = Written()
    for second in range(62):
        written.now = float(second)
        written.log(level, event="away", cause="refused")

    assert SAME_AFTER_S == 30
    assert [line.get("repeated") for line in written.lines] == [None, 29, 29]


def test_another_cause_and_what_is_no_warning_are_written_at_once() -> None:
    written = Written()
    for _ in range(3):
        written.log("info", event="started")
        written.log("warning", event="away", cause="refused")
        written.log("warning", event="away", cause="wrong password")

    assert [line["event"] for line in written.lines] == ["started", "away", "away", "started", "started"]


def test_lines_that_all_differ_are_all_written_and_few_are_kept() -> None:
    written = Written()
    for number in range(2 * MAX_LINES):
        written.log("warning", event="failed", number=number)

    assert len(written.lines) == 2 * MAX_LINES
    assert len(written.same_lines._written) == MAX_LINES


def test_a_process_writes_its_own_log_so() -> None:
    """With the time of each line, which is no difference."""
    code = """
import structlog
from gateway.web.logs import configure_logs
configure_logs("info")
for second in range(3):
    structlog.get_logger().warning("away", cause="refused")
structlog.get_logger().warning("away", cause="wrong password")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert [line["cause"] for line in lines] == ["refused", "wrong password"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
