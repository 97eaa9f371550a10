"""What `make loadtest` compares after a run: a difference on any side is found, and none where all sides agree."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from accounting import compare_calls

from loadtests import memory_calls
from loadtests.bench.targets import Target
from loadtests.k6 import memory, outcome, report
from loadtests.k6.__main__ import SCRIPTS, seconds_of
from loadtests.k6.outcome import Attempt, Seen
from loadtests.k6.run import FOLDER, K6, crossed

AT_ONCE_KEY = 7


def attempt(number: int, kind: str = "json", status: int = 200, **more: Any) -> Attempt:
    about: dict[str, Any] = {"id": f"id-{number}", "ended_ms": 1000.0 * number, "took_ms": 100.0}
    if status == 200:
        about |= {"prompt_tokens": 9, "completion_tokens": 5}
    return Attempt(kind=kind, status=status, **(about | more))


def row(ending: str = "completed", **more: Any) -> dict[str, Any]:
    about = {"ending": ending, "estimated": False, "estimated_why": None, "prompt_tokens": 9, "completion_tokens": 5}
    return about | {"api_key_id": 1} | more


def call(number: int, **more: Any) -> dict[str, Any]:
    about = {"call_id": f"id-{number}", "ending": "complete", "prompt_tokens": 9, "completion_tokens": 5}
    return about | {"started_at": float(number), "ended_at": number + 0.9} | more


def line(number: int, status: int = 200, ending: str | None = "completed") -> dict[str, Any]:
    return {"request_id": f"id-{number}", "status": status, "ending": ending}


@pytest.fixture
def seen() -> Seen:
    """Two answers, a stream that did not ask for its usage, one who left in mid-stream and one before the call was
    forwarded, one refused, one with a wrong key."""
    return Seen(
        attempts=[
            attempt(1),
            attempt(2),
            attempt(3, "stream", prompt_tokens=None),
            attempt(4, "hang_up", 0, id=None),
            attempt(5, "hang_up", 0, id=None),
            attempt(6, "rpm", 429),
            attempt(7, "wrong_key", 401),
        ],
        lines=[
            *(line(number) for number in (1, 2, 3)),
            line(4, 499, "client_disconnected"),
            line(5, 499, None),
            line(6, 429, None),
        ],
        rows={
            **{f"id-{number}": row() for number in (1, 2, 3)},
            "id-4": row("client_disconnected", estimated=True, estimated_why="hung_up", completion_tokens=2),
        },
        upstream=[call(1), call(2), call(3), call(4, ending="hung_up", completion_tokens=3)],
    )


def test_where_all_sides_agree_there_is_no_difference(seen: Seen) -> None:
    assert outcome.differences(seen) == []


def without(seen: Seen, i: str) -> Seen:
    return replace(seen, rows={key: value for key, value in seen.rows.items() if key != i})


def changed(seen: Seen, i: str, **changes: Any) -> Seen:
    return replace(seen, rows=dict(seen.rows) | {i: {**seen.rows.get(i, row()), **changes}})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: without(s, "id-2"), "1 answered calls have no row: id-2"),
        (lambda s: without(s, "id-4"), "1 forwarded calls have no row: id-4"),
        (lambda s: without(s, "id-4"), "2 callers left, and 0 rows and 1 calls"),
        (lambda s: without(s, "id-4"), "1 calls of the model server have no row: id-4"),
        (lambda s: changed(s, "id-6"), "1 refused calls have a row: id-6"),
        (lambda s: changed(s, "id-9"), "1 rows have no line in the access log: id-9"),
        (lambda s: changed(s, "id-9"), "1 rows are of no call: id-9"),
        (lambda s: changed(s, "id-9"), "are not client_disconnected: id-9"),
        (
            lambda s: changed(s, "id-1", ending="upstream_error"),
            "1 answered calls have a row that is not completed: id-1",
        ),
        (lambda s: changed(s, "id-1", estimated=True), "1 answered calls have an estimated row: id-1"),
        (lambda s: changed(s, "id-1", prompt_tokens=8), "1 rows have other prompt_tokens than the answer: id-1"),
        (
            lambda s: changed(s, "id-3", completion_tokens=4),
            "1 rows have other completion_tokens than the answer: id-3",
        ),
        (lambda s: changed(s, "id-3", prompt_tokens=4), "the rows are 5 tokens off what the model server counts"),
        (lambda s: replace(s, lines=s.lines[1:]), "6 calls were made, and the access log has 5"),
        (lambda s: replace(s, attempts=[*s.attempts, attempt(1)]), "1 answers have the id of another"),
        (lambda s: replace(s, attempts=[*s.attempts, attempt(8, id=None)]), "1 answers have no request id"),
        (lambda s: replace(s, upstream=[*s.upstream, call(1)]), "the model server got 1 calls twice"),
        (lambda s: replace(s, upstream=[*s.upstream, call(8)]), "1 calls of the model server have no row: id-8"),
    ],
)
def test_each_difference_is_said(seen: Seen, spoil: Callable[[Seen], Seen], said: str) -> None:
    assert said in " | ".join(outcome.differences(spoil(seen)))


def test_reaped_rows_are_of_calls_that_nobody_has_to_know() -> None:
    found = compare_calls({"id-1": row(estimated_why="reaped")}, [], set(), lambda _: False)

    assert (found.missing, found.others) == (frozenset(), frozenset())


@pytest.mark.parametrize(("admitted", "is_kept"), [(60, True), (61, True), (62, False), (59, False)])
def test_a_rate_limit_admits_what_its_bucket_holds_and_is_refilled_with(
    seen: Seen, admitted: int, is_kept: bool
) -> None:
    # All within a second, which refills one.
    calls = [attempt(n, "rpm", ended_ms=200.0 + n) for n in range(admitted)]
    spiked = replace(seen, attempts=[*calls, attempt(99, "rpm", 429, ended_ms=700.0)])

    found = outcome.by_rate(spiked, "rpm", a_minute=60)

    assert (found.admitted, found.allowed) == (admitted, 61)
    assert (found.problems == []) == is_kept


def test_calls_at_once_are_those_of_the_key_that_overlap(seen: Seen) -> None:
    rows = {f"id-{n}": row(api_key_id=AT_ONCE_KEY) for n in (1, 2)} | {"id-3": row()}
    calls = [call(1, ended_at=5.0), call(2, ended_at=None), call(3, ended_at=9.0)]
    spiked = replace(seen, rows=rows, upstream=calls)

    assert outcome.by_calls_at_once(spiked, AT_ONCE_KEY, limit=2).problems == []
    assert outcome.by_calls_at_once(spiked, AT_ONCE_KEY, limit=1).problems == ["1 at once: 2 admitted of 1 allowed"]
    assert outcome.at_once([(1, 2), (2, 3)]) == 1


def test_errors_of_a_log_are_entries_of_that_level_failed_calls_and_what_is_no_entry() -> None:
    entries = [
        {"event": "call", "status": 200},
        {"event": "call", "status": 429, "code": "rate_limit_exceeded"},
        {"event": "call", "status": 502, "code": "upstream_error"},
        {"event": "started", "level": "info"},
        {"event": "unhandled", "level": "error"},
        {"event": "lease_reaped", "level": "info"},
    ]
    lines = [*(msgspec.json.encode(entry).decode() for entry in entries), "Traceback (most recent call last):\n"]

    found = outcome.error_lines(lines)

    assert found == {
        "502 upstream_error": 1,
        "unhandled": 1,
        "lease_reaped": 1,
        "Traceback (most recent call last):": 1,
    }


def test_memory_is_the_median_of_each_tenth_and_grows_from_the_second() -> None:
    samples = [(n / 100, 1000 + n) for n in range(101)]

    assert memory.tenths(samples) == [1004.5 + 10 * n for n in range(9)] + [1095]
    assert memory.tenths([(0.0, 7)]) == [7] * 10
    assert memory.growth([1, 50, 100, *[0] * 7, 109, 500]) == pytest.approx(0.09)
    assert report.too_large({1: [1, 50, 100, *[0] * 7, 109, 500], 2: [1, 50, 100, *[0] * 7, 111, 1]}) == [
        "worker 2 has 11.0% more memory in the last tenth than in the second"
    ]


def test_memory_is_read_after_a_hundredth_of_the_calls_and_each_tenth() -> None:
    class WrkOfTests:
        def run(self, *_: object, seconds: float, **__: object) -> SimpleNamespace:
            return SimpleNamespace(calls=round(900 * seconds))

    looks = memory_calls.measure(WrkOfTests(), Target("itself", "http://127.0.0.1:1", pid=os.getpid()), 100_000)

    assert [calls for calls, _ in looks.found] == [1800, 10800, *(1800 + 9000 * n for n in range(3, 12))]
    assert all(mib > 1 for _, mib in looks.found)
    assert looks.rounds == 13


@pytest.mark.parametrize(
    ("mib", "rows", "said"),
    [
        (109.9, 1064, ""),
        (110.1, 1000, "a worker has 10.1% more memory"),
        (100.0, 999, "1000 calls were answered, up to 64 cut off, and there are 999 rows"),
        (100.0, 1065, "and there are 1065 rows"),
    ],
)
def test_a_worker_that_grows_and_rows_that_are_lost_or_made_up_are_said(mib: float, rows: int, said: str) -> None:
    looks = memory_calls.Looks([(10, 100.0), (500, 300.0), (1000, mib)], rounds=2)

    found = looks.problems(rows)

    assert [said in one for one in found] == [True] * bool(said)


def test_failed_thresholds_and_checks_of_k6_are_named() -> None:
    summary = {
        "metrics": {"checks": {"thresholds": {"rate==1.0": True}}, "iterations": {"thresholds": {"count>0": False}}},
        "root_group": {"checks": {"json: 200": {"name": "json: 200", "fails": 2}, "b": {"name": "b", "fails": 0}}},
    }

    assert crossed(summary) == ["threshold checks: rate==1.0", "check json: 200: 2 failed"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_k6_reads_each_script_for_loopback_only(script: str) -> None:
    def inspect(url: str) -> subprocess.CompletedProcess[str]:
        argv = [str(K6), "inspect", "--include-system-env-vars", str(FOLDER / f"{script}.js")]
        return subprocess.run(argv, env={"GATEWAY_URL": url}, capture_output=True, text=True, check=False)

    read = inspect("http://127.0.0.1:8080")
    elsewhere = inspect("http://gateway.example:8080")

    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout)["thresholds"]["checks"] == ["rate==1.0"]
    assert elsewhere.returncode != 0
    assert "Load is sent to loopback only" in elsewhere.stderr


def test_a_duration_is_in_seconds_minutes_or_hours() -> None:
    assert [seconds_of(text) for text in ("90", "20s", "3m", "1h")] == [90, 20, 180, 3600]
    for wrong in ("", "1", "3h", "-20s", "20 s", "soon"):
        with pytest.raises(Exception, match="is not from 5s to 2h"):
            seconds_of(wrong)
