"""Whether callers, the access log, the ledger, the model server and Redis say the same of all calls of a run.

Every attempt of a caller has its line in the access log, a line with an ending has its row in the ledger and no other
line has one, an answered call has the tokens that its caller counted, and the model server got no call without a row.
Each function returns sentences about what differs; none: they agree.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from accounting import Row, UpstreamCall, compare_calls

MS: Final = 1000
HUNG_UP: Final = "hang_up"
# Refused before it is known whose call it is.
OF_NOBODY: Final = "wrong_key"
LEFT: Final = "client_disconnected"
TOKENS: Final = ("prompt_tokens", "completion_tokens")
ERROR_LEVELS: Final = ("error", "critical")
REAPED: Final = "lease_reaped"
MAX_NAMED: Final = 5


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call as its caller saw it: a line of calls.js. `status` 0: there was no answer in time. Tokens are what the
    answer says, as far as it says any."""

    kind: str
    status: int
    id: str | None
    ended_ms: float
    took_ms: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What all sides say of the calls of one user: lines of the access log, rows by request id, calls of the model
    server."""

    attempts: Sequence[Attempt]
    lines: Sequence[Mapping[str, Any]]
    rows: Mapping[str, Row]
    upstream: Sequence[UpstreamCall]

    @property
    def answered(self) -> dict[str, Attempt]:
        """By request id."""
        return {attempt.id: attempt for attempt in self.attempts if attempt.status == 200 and attempt.id}


def differences(seen: Seen) -> list[str]:
    """Of all sides."""
    return [*_answers(seen), *_access_log(seen), *_hung_up(seen), *_model_server(seen)]


def _answers(seen: Seen) -> Iterator[str]:
    without_id = sum(attempt.id is None for attempt in seen.attempts if attempt.status)
    if without_id:
        yield f"{without_id} answers have no request id"
    answered = seen.answered
    twice = sum(attempt.status == 200 for attempt in seen.attempts) - len(answered) - without_id
    if twice > 0:
        yield f"{twice} answers have the id of another"
    yield from _named("answered calls have no row", answered.keys() - seen.rows.keys())
    known = {i: row for i, row in seen.rows.items() if i in answered}
    yield from _named("answered calls have a row that is not completed", _where(known, ending="completed"))
    yield from _named("answered calls have an estimated row", _where(known, estimated=False))
    for name in TOKENS:
        counted = {i: getattr(answered[i], name) for i in known}
        off = {i for i, tokens in counted.items() if tokens is not None and tokens != known[i][name]}
        yield from _named(f"rows have other {name} than the answer", off)
    refused = {attempt.id for attempt in seen.attempts if attempt.status not in (0, 200) and attempt.id}
    yield from _named("refused calls have a row", refused & seen.rows.keys())


def _where(rows: Mapping[str, Row], **wanted: object) -> set[str]:
    """Those that do not have these values."""
    return {i for i, row in rows.items() if any(row[name] != value for name, value in wanted.items())}


def _access_log(seen: Seen) -> Iterator[str]:
    attempts = sum(attempt.kind != OF_NOBODY for attempt in seen.attempts)
    if attempts != len(seen.lines):
        yield f"{attempts} calls were made, and the access log has {len(seen.lines)}"
    forwarded = {str(line["request_id"]) for line in seen.lines if line["ending"] is not None}
    yield from _named("forwarded calls have no row", forwarded - seen.rows.keys())
    yield from _named("rows have no line in the access log", seen.rows.keys() - forwarded)


def _hung_up(seen: Seen) -> Iterator[str]:
    """Their ids are not known to the callers."""
    left = sum(attempt.status == 0 for attempt in seen.attempts)
    others = {i: row for i, row in seen.rows.items() if i not in seen.answered}
    early = sum(line["ending"] is None and line["status"] == 499 for line in seen.lines)
    if len(others) + early != left:
        yield f"{left} callers left, and {len(others)} rows and {early} calls that were not forwarded are of them"
    yield from _named(f"rows that nobody was answered are not {LEFT}", _where(others, ending=LEFT))


def _model_server(seen: Seen) -> Iterator[str]:
    found = compare_calls(seen.rows, seen.upstream, set(seen.answered), lambda row: row["ending"] == LEFT)
    yield from _named("calls of the model server have no row", found.missing - seen.answered.keys())
    yield from _named("rows are of no call", found.others)
    if found.doubles:
        yield f"the model server got {found.doubles} calls twice"
    if found.tokens_off:
        yield f"the rows are {found.tokens_off} tokens off what the model server counts"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Of a limit: how many calls were admitted (in all, or at once at most), how many it allows, and how many it should
    at least admit."""

    limit: str
    admitted: int
    allowed: int
    least: int = 0

    @property
    def problems(self) -> list[str]:
        """Nothing, or that it was too many, or too few."""
        if self.admitted < self.least:
            return [f"{self}, of which {self.least} should be at least"]
        return [str(self)] if self.admitted > self.allowed else []

    def __str__(self) -> str:
        return f"{self.limit}: {self.admitted} admitted of {self.allowed} allowed"


def by_rate(seen: Seen, kind: str, *, a_minute: int) -> Admitted:
    """Of calls with a limit a minute, whose bucket holds a minute's and is refilled. Where calls were refused, as many
    as it holds were admitted."""
    attempts = [attempt for attempt in seen.attempts if attempt.kind == kind]
    began = min((attempt.ended_ms - attempt.took_ms for attempt in attempts), default=0.0)
    lasted_s = (max((attempt.ended_ms for attempt in attempts), default=0.0) - began) / MS
    return Admitted(
        f"{a_minute} a minute, in {lasted_s:.1f} s",
        admitted=sum(attempt.status == 200 for attempt in attempts),
        allowed=a_minute + math.ceil(lasted_s * a_minute / 60),
        least=a_minute if any(attempt.status == 429 for attempt in attempts) else 0,
    )


def by_calls_at_once(seen: Seen, key_id: int, *, limit: int) -> Admitted:
    """Of a key with a limit of calls at once: the most that the model server had at the same time."""
    ids = {i for i, row in seen.rows.items() if row["api_key_id"] == key_id}
    calls = [call for call in seen.upstream if call["call_id"] in ids]
    most = at_once((call["started_at"], call["ended_at"] or math.inf) for call in calls)
    return Admitted(f"{limit} at once", admitted=most, allowed=limit)


def at_once(times: Iterable[tuple[float, float]]) -> int:
    """The most of these (begin, end) that overlap."""
    running = most = 0
    changes = [change for begin, end in times for change in ((begin, 1), (end, -1))]
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def error_lines(lines: Iterable[str]) -> Counter[str]:
    """What a log of ours has of errors, by event: entries of that level, leases that the reaper had to close although
    no worker died, failed calls, and whatever is no JSON."""
    found: Counter[str] = Counter()
    for text in lines:
        try:
            entry = msgspec.json.decode(text)
        except msgspec.DecodeError:
            entry = None
        if not isinstance(entry, dict):
            found[text.strip()[:200]] += 1
        elif entry.get("level") in ERROR_LEVELS or entry.get("event") == REAPED:
            found[str(entry.get("event"))] += 1
        elif entry.get("event") == "call" and int(entry.get("status") or 0) >= 500:
            found[f"{entry['status']} {entry.get('code')}"] += 1
    return found


def _named(what: str, ids: Iterable[str]) -> Iterator[str]:
    found = sorted(map(str, ids))
    if found:
        more = ", …" if len(found) > MAX_NAMED else ""
        yield f"{len(found)} {what}: {', '.join(found[:MAX_NAMED])}{more}"
