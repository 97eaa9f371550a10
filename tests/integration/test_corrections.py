"""Corrections of calls: repricing, and who counts them (case S8)."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, make_user
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.actors import Actor
from admin_api.operations.audit import verify_audit
from admin_api.operations.maintenance.ledger import rebuild_rollups, verify_closed_days, verify_ledger
from admin_api.operations.maintenance.reconciliation import reconcile_ledger
from admin_api.operations.maintenance.repricing import reprice_call
from admin_api.operations.usage.exports import export_usage
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas.usage_files import parts_of
from gateway.domain.errors import GatewayError
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.ledger.corrections import write_late
from gateway.storage.ledger.rows import find_rows
from gateway.storage.ledger.sums import WindowSum, sum_windows
from gateway.storage.postgres import Pool

LAST_CLOSED = TODAY - timedelta(days=9)
TOMORROW = TODAY + timedelta(days=1)
EVERYTHING = UsageFilter(since=TODAY - timedelta(days=40), until=TOMORROW)


@pytest.fixture
async def old(pool: Pool) -> UsageRow:
    """A call of a closed day, 23,000 nano-USD, beside one of today."""
    row = make_usage_row(LAST_CLOSED)
    await write_rows(pool, [row, make_usage_row(TODAY, cost_nano_usd=1_000, counted_nano_usd=1_000)])
    assert await close_due_days(pool) == [LAST_CLOSED.date()]
    return row


async def cost_of_today(pool: Pool) -> int:
    start, end = (int(moment.timestamp() * 1000) for moment in (TODAY, TOMORROW))
    return (await sum_windows(pool, [WindowSum(1, "cost", "k1", start, end)]))[0]


async def test_s8_a_new_price_of_a_call_counts_on_the_day_it_is_given(pool: Pool, old: UsageRow) -> None:
    for cost in ("0.000030", "0.000004", "0.000005"):
        await reprice_call(pool, ADMIN, old.request_id, cost=Decimal(cost), reason="wrong price")

    assert await find_rows(pool, [old.request_id]) == [old]
    assert await cost_of_today(pool) == 1_000 - 23_000 + 5_000
    assert (await summarize(pool, READER, EVERYTHING)).sums.cost_nano_usd == 1_000 + 5_000
    assert (await summarize(pool, READER, EVERYTHING)).sums.calls == 2
    assert (await verify_closed_days(pool, READER, days=40)).findings == ()
    assert (await verify_ledger(pool, READER, days=40)).differences == ()
    await rebuild_rollups(pool, ADMIN, first=TODAY.date(), last=TODAY.date())
    assert await cost_of_today(pool) == 1_000 - 23_000 + 5_000
    assert (await verify_audit(pool, READER)).findings == ()
    audited = await pool.fetch("SELECT old->>'cost_nano_usd' AS was FROM audit_logs WHERE action = 'ledger.reprice'")
    assert sorted(record["was"] for record in audited) == ["23000", "30000", "4000"]


async def test_a14_a_correction_names_a_user_by_their_id(pool: Pool, old: UsageRow) -> None:
    boss = await make_user(pool, role="admin")
    actor = Actor(name=boss.email, role="admin", user_id=boss.id)

    await reprice_call(pool, actor, old.request_id, cost=Decimal("0.000030"), reason="wrong price")

    made_by = await pool.fetch("SELECT DISTINCT made_by FROM ledger_corrections")
    assert [row["made_by"] for row in made_by] == [f"user:{boss.id}"]


async def test_s8_a_call_without_a_price_gets_one(pool: Pool) -> None:
    row = make_usage_row(TODAY, cost_nano_usd=None, counted_nano_usd=0)
    await write_rows(pool, [row])

    done = await reprice_call(pool, ADMIN, row.request_id, cost=Decimal("0.000000007"), reason="it has a price now")

    assert (done.was_nano_usd, done.cost_nano_usd) == (None, 7)
    sums = await pool.fetchrow("SELECT calls, unpriced_calls, cost_nano_usd FROM usage_all_days")
    assert sums is not None
    assert tuple(sums) == (1, 0, 7)
    assert (await verify_ledger(pool, READER, days=3)).differences == ()


@pytest.mark.parametrize("cost", ["-1", "1000001", "0.0000000001", "0.000023"])
async def test_s8_a_cost_must_be_another_whole_number_of_nano_usd(pool: Pool, old: UsageRow, cost: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await reprice_call(pool, ADMIN, old.request_id, cost=Decimal(cost), reason="x")

    assert caught.value.code == "validation_failed"
    assert await pool.fetchval("SELECT count(*) FROM ledger_corrections") == 0


async def test_s8_only_admins_reprice_calls_that_are_there(pool: Pool, old: UsageRow) -> None:
    for actor, request_id, reason, code in (
        (READER, old.request_id, "x", "forbidden"),
        (ADMIN, uuid4(), "x", "not_found"),
        (ADMIN, old.request_id, "", "validation_failed"),
        (ADMIN, old.request_id, "a\x00", "validation_failed"),
    ):
        with pytest.raises(GatewayError) as caught:
            await reprice_call(pool, actor, request_id, cost=Decimal(1), reason=reason)
        assert caught.value.code == code


async def test_s8_an_estimate_that_its_row_may_replace_is_not_priced_again(pool: Pool) -> None:
    estimate = make_usage_row(TODAY, estimated=True, estimated_why="reaped", first_byte_ms=None)
    await write_rows(pool, [estimate])

    with pytest.raises(GatewayError, match="may still replace"):
        await reprice_call(pool, ADMIN, estimate.request_id, cost=Decimal(1), reason="x")


async def test_s8_exports_of_calls_add_up_to_the_rollups(pool: Pool, old: UsageRow) -> None:
    await reprice_call(pool, ADMIN, old.request_id, cost=Decimal("0.000030"), reason="wrong price")

    async def lines(since_days: int) -> list[dict[str, str]]:
        query = UsageFilter(since=TODAY - timedelta(days=since_days), until=TOMORROW)
        export = await export_usage(pool, READER, query, file_format="csv", detail="calls")
        text = b"".join([part async for part in parts_of(export)]).decode()
        return list(csv.DictReader(io.StringIO(text, newline="")))

    everything, today = await lines(40), await lines(0)

    assert [(line["correction"], line["cost_nano_usd"]) for line in everything[:2]] == [("", "23000"), ("", "1000")]
    assert sorted(int(line["cost_nano_usd"]) for line in everything[2:]) == [-23_000, 30_000]
    assert {line["correction"] for line in everything[2:]} == {"repriced"}
    assert {line["request_id"] for line in everything[2:]} == {str(old.request_id)}
    assert sum(int(line["cost_nano_usd"]) for line in today) == await cost_of_today(pool) == 8_000
    assert sum(int(line["prompt_tokens"]) for line in everything) == 22


async def test_s8_reconciling_takes_a_corrected_call_as_it_is_now(pool: Pool, old: UsageRow) -> None:
    late = make_usage_row(LAST_CLOSED, cost_nano_usd=40_000)
    await write_late(pool, late)
    await reprice_call(pool, ADMIN, old.request_id, cost=Decimal("0.000030"), reason="wrong price")
    log = "".join(
        f'{{"litellm_call_id": "{row.request_id}", "status": "success", "model_group": "small", "prompt_tokens": 11, '
        f'"completion_tokens": 6, "response_cost": {cost}}}\n'
        for row, cost in ((old, "0.000030"), (late, "0.000040"))
    )

    found = await reconcile_ledger(pool, READER, io.BytesIO(log.encode()))

    assert (found.findings, found.counts["same"].calls, found.counts["same"].cost_nano_usd) == ([], 2, 70_000)


async def test_s8_the_command_shows_what_a_call_cost_and_costs(database: Database, pool: Pool, old: UsageRow) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})

    done = await command_line.run("ledger", "reprice", str(old.request_id), "--cost-usd", "0.00003", "--reason", "x")
    refused = await command_line.run("ledger", "reprice", str(uuid4()), "--cost-usd", "1", "--reason", "x")

    assert (done.code, done.out) == (0, "0.000023 USD before, 0.00003 USD now.\n")
    assert refused.code == 1
    assert "no call with this id" in refused.err
