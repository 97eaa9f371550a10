"""Ledger rows for readers: newest first, in pages, with totals."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from factories import ADMIN, READER, make_key

from admin_api.operations.usage import calls
from admin_api.schemas.usage import UsageView
from admin_api.storage.api_keys import APIKey
from gateway.domain.errors import GatewayError
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.storage.postgres import Pool

INSERT_ROW = """
INSERT INTO usage_logs (request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked,
    endpoint, streamed, status, ending, prompt_tokens, completion_tokens, cost_nano_usd, counted_requests,
    counted_tokens, counted_nano_usd, total_ms, estimated, estimated_why)
VALUES ($1, to_timestamp($7), $2, $3, $4, 1, 1, 'small', '/v1/chat/completions', true, 200, 'completed', 11, 6, $5, 1,
    17, 23000, 40, $6, CASE WHEN $6 THEN 'hung_up' END)
"""
INSERT_SUMS = "SELECT rebuild_usage_rollups(now())"


async def write_rows(pool: Pool, key: APIKey, costs: Sequence[int | None], *, estimated: bool = False) -> list[UUID]:
    """Writes one call for each cost; returns their ids, oldest first."""
    ids = RequestIds()
    made = []
    for n, cost in enumerate(costs):
        ids.offset_ms = n
        made.append(ids.new())
        began = milliseconds_of(made[-1]) / 1000
        await pool.execute(INSERT_ROW, made[-1], key.account_id, key.user_id, key.id, cost, estimated, began)
    return made


async def test_the_rows_of_a_key_are_newest_first_with_totals_of_all_pages(pool: Pool) -> None:
    key = (await make_key(pool)).row
    made = await write_rows(pool, key, [23_000] * 5)
    await pool.execute(INSERT_SUMS)

    seen, cursor = [], None
    while True:
        page = await calls.show_usage(pool, READER, key_id=key.id, limit=2, cursor=cursor)
        assert (page.totals.calls, page.totals.prompt_tokens, page.totals.cost_nano_usd) == (5, 55, 115_000)
        seen += [row.request_id for row in page.rows]
        if (cursor := page.next_cursor) is None:
            break

    assert seen == made[::-1]


async def test_rows_of_another_key_are_only_in_the_list_of_all(pool: Pool) -> None:
    one, other = (await make_key(pool, model="one")).row, (await make_key(pool, model="two")).row
    await write_rows(pool, one, [1])
    await write_rows(pool, other, [2])
    await pool.execute(INSERT_SUMS)

    own = await calls.show_usage(pool, READER, key_id=one.id)
    everybodys = await calls.show_usage(pool, READER)

    assert [row.cost_nano_usd for row in own.rows] == [1]
    assert own.totals.cost_nano_usd == 1
    assert sorted(row.cost_nano_usd or 0 for row in everybodys.rows) == [1, 2]
    assert everybodys.totals.cost_nano_usd == 3


async def test_money_is_exact_and_an_unknown_cost_is_not_zero(pool: Pool) -> None:
    key = (await make_key(pool)).row
    await write_rows(pool, key, [23_000, None], estimated=True)
    await pool.execute(INSERT_SUMS)

    view = UsageView.of(await calls.show_usage(pool, READER, key_id=key.id))

    assert [(row.cost_usd, row.cost_nano_usd) for row in view.rows] == [(None, None), ("0.000023", 23_000)]
    assert [(row.estimated, row.estimated_why) for row in view.rows] == [(True, "hung_up")] * 2
    assert (view.totals.cost_usd, view.totals.estimated_calls) == ("0.000023", 2)


async def test_a_key_without_calls_has_totals_of_zero(pool: Pool) -> None:
    key = (await make_key(pool)).row

    page = await calls.show_usage(pool, READER, key_id=key.id)

    assert (list(page.rows), page.totals.calls, page.next_cursor) == ([], 0, None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [({"key_id": 999}, "not_found"), ({"cursor": "1"}, "validation_failed"), ({"limit": 0}, "validation_failed")],
)
async def test_an_unknown_key_or_cursor_is_an_error(pool: Pool, arguments: dict[str, object], code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await calls.show_usage(pool, ADMIN, **arguments)

    assert caught.value.code == code
