"""Compares the ledger with LiteLLM's log of calls, joined by request id."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.pagination import MAX_ID
from admin_api.operations.validation import check_moment, invalid
from admin_api.storage import reconciliation
from admin_api.storage.reconciliation import Finding, FindingCount, LoggedCall, ModelCosts
from gateway.domain.money import nano_usd_rounded_up

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_LISTED: Final = 100_000
# UUID version of the gateway's request ids. LiteLLM's own ids, of calls outside the gateway, have version 4.
ID_VERSION: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """`counts` is by finding: same, different, missing, extra, and estimated if these are counted separately. `foreign`
    lines are of calls outside the gateway; `unreadable` lines are not calls; `models` are those whose costs differ."""

    counts: dict[str, FindingCount]
    findings: list[Finding]
    models: list[ModelCosts]
    lines: int
    foreign: int
    unreadable: int
    repeated: int

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing, extra or different, and every line could be read."""
        return not self.unreadable and not {"missing", "extra", "different"} & self.counts.keys()


class _Reader:
    """Reads the log once, and counts lines that are foreign or unreadable."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.lines = self.foreign = self.unreadable = 0

    def __iter__(self) -> Iterator[LoggedCall]:
        for line in self._lines:
            if not line.strip():
                continue
            self.lines += 1
            try:
                call = read_line(line)
            except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
                self.unreadable += 1
                continue
            if call is None:
                self.foreign += 1
            else:
                yield call


def read_line(line: bytes) -> LoggedCall | None:
    """Parses a StandardLoggingPayload of LiteLLM; None for a call outside the gateway. Raises the exceptions that
    `_Reader` catches for lines that are not a payload."""
    payload: dict[str, Any] = json.loads(line)
    call_id = payload["litellm_call_id"]
    try:
        request_id = UUID(call_id)
    except (ValueError, AttributeError, TypeError):
        return None
    if request_id.version != ID_VERSION:
        return None
    cost = payload.get("response_cost")
    # As the gateway reads the figure of an answer.
    nano = None if cost is None else nano_usd_rounded_up(cost)
    if cost is not None and nano is None:
        raise ValueError("a cost out of range")
    prompt, completion = (int(payload.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
    if not all(0 <= number <= MAX_ID for number in (prompt, completion, nano or 0)):
        raise ValueError("a number out of range")
    model = payload.get("model_group") or payload.get("model")
    # Postgres accepts neither NUL nor lone surrogates.
    name = model and "".join(c if c.isprintable() else "\ufffd" for c in str(model))
    return LoggedCall(request_id, payload.get("status") == "success", name, prompt, completion, nano)


async def reconcile_ledger(
    pool: "Pool",
    actor: Actor,
    lines: Iterable[bytes],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tolerance_nano_usd: int = 0,
    skip_estimated: bool = False,
    limit: int = 100,
) -> Reconciled:
    """By default the period runs from the first to the last call of the log. Costs may differ by the tolerance.

    `skip_estimated` counts estimated rows that differ separately: of clients that disconnected, of gateways that
    crashed. `limit` is the maximum number of findings listed; all are counted. Raises GatewayError `validation_failed`.
    """
    require_reader(actor)
    if not 0 <= limit <= MAX_LISTED:
        raise invalid("limit", f"limit must be a number from 0 to {MAX_LISTED}.")
    if not 0 <= tolerance_nano_usd <= MAX_ID:
        raise invalid("tolerance_nano_usd", "tolerance_nano_usd must be 0 or more.")
    since = None if since is None else check_moment("since", since)
    until = None if until is None else check_moment("until", until)
    if since is not None and until is not None and until <= since:
        raise invalid("until", "until must be later than since.")
    reader = _Reader(lines)
    async with pool.acquire() as connection, connection.transaction():
        found = await reconciliation.reconcile(
            connection,
            reader,
            since=since,
            until=until,
            tolerance_nano_usd=tolerance_nano_usd,
            skip_estimated=skip_estimated,
            limit=limit,
        )
    return Reconciled(
        counts={count.finding: count for count in found.counts},
        findings=found.findings,
        models=found.models,
        lines=reader.lines,
        foreign=reader.foreign,
        unreadable=reader.unreadable,
        repeated=found.repeated,
    )
