"""Reconciliation with LiteLLM's log: long, truncated, with retries and with foreign calls."""

import json
from datetime import timedelta
from typing import Any

import pytest
from factories import ADMIN
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.maintenance.reconciliation import Reconciled, read_line, reconcile_ledger
from admin_api.storage import reconciliation
from gateway.domain.usage_rows import UsageRow
from gateway.storage.postgres import Pool

AT = TODAY - timedelta(hours=3)


def line_of(row: UsageRow, **changes: Any) -> bytes:
    """The line LiteLLM writes for that call."""
    about = {
        "litellm_call_id": str(row.request_id),
        "status": "success",
        "model_group": row.model_asked,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "response_cost": None if row.cost_nano_usd is None else row.cost_nano_usd / 1e9,
    }
    return json.dumps(about | changes).encode() + b"\n"


@pytest.fixture
async def rows(pool: Pool) -> list[UsageRow]:
    made = [make_usage_row(AT + timedelta(seconds=n), cost_nano_usd=n * 1000 + 7) for n in range(10)]
    await write_rows(pool, made)
    return made


def calls(found: Reconciled) -> dict[str, int]:
    return {finding: count.calls for finding, count in found.counts.items()}


async def test_retries_foreign_calls_and_truncated_lines_are_distinguished(pool: Pool, rows: list[UsageRow]) -> None:
    failed = line_of(rows[3], status="failure", prompt_tokens=0, completion_tokens=0, response_cost=0)
    foreign = line_of(rows[0], litellm_call_id="7a3f8c1e-9f7a-4a52-8a3e-000000000000")
    lines = [failed, *(line_of(row) for row in rows), failed, foreign, b"\n", b'{"litellm_call_id": "01', b"[]\n"]

    found = await reconcile_ledger(pool, ADMIN, lines)

    assert calls(found) == {"same": 10}
    assert (found.lines, found.foreign, found.unreadable, found.repeated) == (15, 1, 2, 2)
    assert not found.agrees
    assert (await reconcile_ledger(pool, ADMIN, lines[:-2])).agrees


async def test_the_default_range_is_that_of_the_log(pool: Pool, rows: list[UsageRow]) -> None:
    lines = [line_of(row) for row in rows[2:5]]

    own = await reconcile_ledger(pool, ADMIN, lines)
    wider = await reconcile_ledger(pool, ADMIN, lines, since=AT, until=AT + timedelta(minutes=1))
    narrower = await reconcile_ledger(
        pool, ADMIN, lines, since=AT + timedelta(seconds=3), until=AT + timedelta(seconds=4)
    )

    assert (calls(own), calls(wider), calls(narrower)) == ({"same": 3}, {"same": 3, "extra": 7}, {"same": 1})
    assert [finding.request_id for finding in wider.findings] == [
        row.request_id for row in rows if row not in rows[2:5]
    ]


async def test_a_cost_difference_of_a_nano_usd_is_found(pool: Pool, rows: list[UsageRow]) -> None:
    lines = [line_of(rows[0], response_cost=8e-09), *(line_of(row) for row in rows[1:])]

    assert calls(await reconcile_ledger(pool, ADMIN, lines)) == {"same": 9, "different": 1}
    assert calls(await reconcile_ledger(pool, ADMIN, lines, tolerance_nano_usd=1)) == {"same": 10}


@pytest.mark.parametrize(
    "changes",
    [{"prompt_tokens": 12}, {"prompt_tokens": 10}, {"completion_tokens": 7}, {"completion_tokens": 5},
     {"response_cost": 1}, {"response_cost": None}],
)  # fmt: skip
async def test_a_call_that_differs_in_one_number_is_named(
    pool: Pool, rows: list[UsageRow], changes: dict[str, Any]
) -> None:
    found = await reconcile_ledger(pool, ADMIN, [*map(line_of, rows[:9]), line_of(rows[9], **changes)])

    assert calls(found) == {"same": 9, "different": 1}
    assert [(one.finding, one.request_id) for one in found.findings] == [("different", rows[9].request_id)]


async def test_a_call_on_one_side_is_reported_with_the_side_it_is_missing_from(
    pool: Pool, rows: list[UsageRow]
) -> None:
    lost = make_usage_row(AT + timedelta(seconds=5), cost_nano_usd=7)

    found = await reconcile_ledger(pool, ADMIN, map(line_of, [*rows[:4], lost, *rows[5:]]))

    assert calls(found) == {"same": 9, "missing": 1, "extra": 1}
    assert {one.finding: one.request_id for one in found.findings} == {
        "missing": lost.request_id, "extra": rows[4].request_id,
    }  # fmt: skip
    assert (found.counts["missing"].tokens, found.counts["missing"].litellm_tokens) == (0, 17)
    assert (found.counts["extra"].tokens, found.counts["extra"].litellm_tokens) == (17, 0)
    assert not found.agrees


async def test_models_whose_figures_differ_are_listed_the_largest_difference_first(pool: Pool) -> None:
    """D3: as charged, by the price, by LiteLLM."""
    figures = [("same", 7, 7, 7), ("dear", 9, 5, 9), ("dear", 9, 9, 8), ("dearer", 30, 20, 30), ("cheap", 6, 6, 5)]
    made = [
        make_usage_row(AT + timedelta(seconds=n), model_asked=model, cost_nano_usd=cost, own_cost_nano_usd=own)
        for n, (model, cost, own, _) in enumerate(figures)
    ]
    await write_rows(pool, made)
    lines = [line_of(row, response_cost=f[3] / 1e9) for row, f in zip(made, figures, strict=True)]

    found = await reconcile_ledger(pool, ADMIN, lines)

    assert [
        (m.model, m.calls, m.dearer_calls, m.cost_nano_usd, m.own_cost_nano_usd, m.litellm_cost_nano_usd)
        for m in found.models
    ] == [("dearer", 1, 1, 30, 20, 30), ("dear", 2, 1, 18, 14, 17), ("cheap", 1, 0, 6, 6, 5)]


async def test_a_price_of_an_admins_is_no_difference(pool: Pool) -> None:
    """The ledger has LiteLLM's figure beside the one that was charged: that is the one the log has too, or has not."""
    row = make_usage_row(AT, cost_nano_usd=50, own_cost_nano_usd=50, litellm_cost_nano_usd=7)
    neither = make_usage_row(AT - timedelta(days=1), cost_nano_usd=51, own_cost_nano_usd=50, litellm_cost_nano_usd=7)
    await write_rows(pool, [row, neither])

    agrees = await reconcile_ledger(pool, ADMIN, [line_of(row, response_cost=7e-09)])
    differs = await reconcile_ledger(pool, ADMIN, [line_of(row, response_cost=5e-08)])

    assert (calls(agrees), agrees.agrees) == ({"same": 1}, True)
    assert [(m.cost_nano_usd, m.litellm_cost_nano_usd) for m in agrees.models] == [(50, 7)]
    assert (calls(differs), differs.agrees) == ({"different": 1}, False)
    assert calls(await reconcile_ledger(pool, ADMIN, [line_of(neither, response_cost=7e-09)])) == {"different": 1}


async def test_calls_never_forwarded_are_not_missing_and_a_missing_price_is_no_difference(pool: Pool) -> None:
    unpriced = make_usage_row(AT, cost_nano_usd=None)
    first, last = make_usage_row(AT - timedelta(seconds=1)), make_usage_row(AT + timedelta(seconds=1))
    await write_rows(pool, [first, unpriced, make_usage_row(AT, ending="unreachable"), last])

    found = await reconcile_ledger(pool, ADMIN, [line_of(first), line_of(unpriced, response_cost=0.0), line_of(last)])

    assert calls(found) == {"same": 3}


async def test_estimates_can_be_reported_separately(pool: Pool) -> None:
    row = make_usage_row(AT, estimated=True, estimated_why="hung_up", ending="client_disconnected")
    await write_rows(pool, [row])
    lines = [line_of(row, completion_tokens=9)]

    assert calls(await reconcile_ledger(pool, ADMIN, lines)) == {"different": 1}
    apart = await reconcile_ledger(pool, ADMIN, lines, skip_estimated=True)
    assert (calls(apart), apart.findings, apart.agrees) == ({"estimated": 1}, [], True)


async def test_a_long_log_is_read_in_batches(pool: Pool, rows: list[UsageRow], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "BATCH", 3)

    found = await reconcile_ledger(pool, ADMIN, (line_of(row) for row in rows), limit=0)

    assert calls(found) == {"same": 10}
    assert [len(b) for b in reconciliation._batches(read_line(line_of(r)) for r in rows)] == [3, 3, 3, 1]  # type: ignore[misc]


async def test_a_name_postgres_cannot_store_blocks_no_line(pool: Pool, rows: list[UsageRow]) -> None:
    odd = make_usage_row(AT + timedelta(seconds=5))
    lines = [*map(line_of, rows), line_of(odd, model_group="a\0b"), line_of(odd, model_group="\ud800")]

    found = await reconcile_ledger(pool, ADMIN, lines)

    assert calls(found) == {"same": 10, "missing": 1}
    assert found.findings[0].model in ("a\ufffdb", "\ufffd")


async def test_an_empty_log_has_no_differences(pool: Pool, rows: list[UsageRow]) -> None:
    found = await reconcile_ledger(pool, ADMIN, [])

    assert (calls(found), found.agrees) == ({}, True)
    assert calls(await reconcile_ledger(pool, ADMIN, [], since=AT, until=AT + timedelta(hours=1))) == {"extra": 10}


@pytest.mark.parametrize(
    "changes",
    [{"prompt_tokens": "many"}, {"response_cost": "dear"}, {"response_cost": -1}, {"prompt_tokens": 2**70},
     {"response_cost": float("nan")}, {"response_cost": float("inf")}],
)  # fmt: skip
def test_an_invalid_line_is_reported_as_unreadable(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        read_line(line_of(make_usage_row(AT), **changes))
