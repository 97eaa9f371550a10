"""The ledger compared with the log of the real LiteLLM, and usage reports soon after a call."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from callers import Caller, MakeCaller
from factories import ADMIN
from gateways import Backends, Ledger, wait_until
from usage_rows import new_id, write_rows

from admin_api.operations.maintenance.reconciliation import Reconciled, reconcile_ledger
from admin_api.operations.usage.reports import measure_latencies, summarize
from admin_api.operations.usage.scope import UsageFilter
from end_to_end.asking import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, asked, opened
from gateway.storage.ledger.rows import find_rows
from gateway.storage.postgres import Pool

Reconcile = Callable[..., Awaitable[Reconciled]]


@pytest.fixture
async def reconcile(usage_log: Path, pool: Pool) -> Reconcile:
    """Compares with LiteLLM's log of this test's calls."""
    began = datetime.now(UTC)
    # Ids are made by Redis's clock, as the gateway last saw it: on a busy machine that is some ms behind.
    await asyncio.sleep(0.2)

    async def compare(log: Path | None = None, **more: object) -> Reconciled:
        with (log or usage_log).open("rb") as lines:
            return await reconcile_ledger(pool, ADMIN, lines, since=began, until=datetime.now(UTC), **more)  # type: ignore[arg-type]

    return compare


async def logged(usage_log: Path, ids: list[UUID]) -> None:
    """Waits for LiteLLM's line, which is written after the response."""

    def tells_all() -> bool:
        text = usage_log.read_text()
        return all(str(one) in text for one in ids)

    async def are_there() -> bool:
        return tells_all()

    await wait_until(are_there, "LiteLLM's lines")


async def ask_everything(caller: Caller, ledger: Ledger, usage_log: Path) -> list[UUID]:
    """Calls of every kind; their ids."""
    for route in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS):
        assert (await asked(caller, route, "Hello")).status == 200
    for route in (CHAT, COMPLETIONS, RESPONSES, MESSAGES):
        assert (await asked(caller, route, "Hello again", stream=True)).status == 200
    assert (await asked(caller, replace(CHAT, model="fault-429"), "No")).status == 429
    ids = [row["request_id"] for row in await ledger.rows(caller.account_id, 10)]
    await logged(usage_log, ids)
    return ids


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make("demo-chat", "demo-completion", "demo-embedding", "fault-429")


async def test_ledger_and_litellm_agree_on_every_call_to_the_nano_usd(
    caller: Caller, ledger: Ledger, usage_log: Path, reconcile: Reconcile
) -> None:
    await ask_everything(caller, ledger, usage_log)

    found = await reconcile()

    assert found.findings == []
    assert found.agrees
    same = found.counts["same"]
    assert (same.calls, same.tokens, same.cost_nano_usd) == (10, same.litellm_tokens, same.litellm_cost_nano_usd)
    assert same.cost_nano_usd > 0


async def test_a_removed_an_added_and_a_changed_row_are_found(
    caller: Caller, ledger: Ledger, usage_log: Path, reconcile: Reconcile, backends: Backends, pool: Pool
) -> None:
    ids = await ask_everything(caller, ledger, usage_log)
    removed, dearer, longer = ids[0], ids[1], ids[2]
    row = (await find_rows(pool, [ids[3]]))[0]
    added = msgspec.structs.replace(row, request_id=new_id(row.started_at))
    await write_rows(pool, [added])
    await backends.database.execute_as_owner("DELETE FROM usage_logs WHERE request_id = $1", removed)
    await backends.database.execute_as_owner(
        "UPDATE usage_logs SET cost_nano_usd = cost_nano_usd + 1 WHERE request_id = $1", dearer
    )
    await backends.database.execute_as_owner(
        "UPDATE usage_logs SET completion_tokens = 7777 WHERE request_id = $1", longer
    )

    found = await reconcile()
    tolerant = await reconcile(tolerance_nano_usd=1)

    reported = {finding.request_id: finding.finding for finding in found.findings}
    assert reported == {removed: "missing", added.request_id: "extra", dearer: "different", longer: "different"}
    assert {name: count.calls for name, count in found.counts.items()} == {
        "same": 7, "missing": 1, "extra": 1, "different": 2,
    }  # fmt: skip
    (altered,) = (finding for finding in found.findings if finding.request_id == dearer)
    assert altered.cost_nano_usd == altered.litellm_cost_nano_usd + 1
    assert dearer not in {finding.request_id for finding in tolerant.findings}
    assert not found.agrees


async def test_a_disconnected_call_is_an_estimate_and_can_be_reported_separately(
    caller: Caller, ledger: Ledger, usage_log: Path, reconcile: Reconcile
) -> None:
    async with opened(caller, CHAT, "Long [tokens=400] [delay=0.05]", stream=True) as answer:
        await answer.content.readany()
    row = await ledger.row(caller.account_id)
    await asked(caller, CHAT, "Hello")
    ids = [one["request_id"] for one in await ledger.rows(caller.account_id, 2)]
    await logged(usage_log, ids[1:])

    found = await reconcile(skip_estimated=True)

    assert row["estimated_why"] == "hung_up"
    assert found.counts["same"].calls >= 1
    assert {finding.finding for finding in found.findings} <= {"extra"}


async def test_a_call_is_in_the_sums_within_seconds(caller: Caller, pool: Pool) -> None:
    assert (await asked(caller, CHAT, "Hello")).status == 200
    fields = UsageFilter(user=caller.email)

    async def is_counted() -> bool:
        return (await summarize(pool, ADMIN, fields)).sums.calls == 1

    await wait_until(is_counted, "the call in the sums")
    sums = (await summarize(pool, ADMIN, fields)).sums
    assert sums.prompt_tokens > 0
    assert sums.cost_nano_usd > 0
    (latency,) = (await measure_latencies(pool, ADMIN, fields)).rows
    assert (latency.calls, latency.first_byte_calls) == (1, 1)


async def test_the_log_has_no_prompt_no_response_and_no_key(caller: Caller, ledger: Ledger, usage_log: Path) -> None:
    await ask_everything(caller, ledger, usage_log)

    with usage_log.open() as log:
        lines = log.readlines()
    assert len(lines) >= 10
    assert not re.search(r"Hello|sk-", "".join(lines))
    assert all(set(json.loads(line)) >= {"litellm_call_id", "response_cost"} for line in lines)
