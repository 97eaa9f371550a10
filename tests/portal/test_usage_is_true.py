"""Every figure of the usage pages is that of the ledger, to the nano-USD: 200 histories, three zones, through a change
of summer time. Files and pages agree."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from conftest import Database
from factories import make_user
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from usage_rows import empty_ledger, make_usage_row, new_id, write_rows

from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.partitions import ensure_partition
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.visitors import Visitor

# In Europe summer time ended on October 25th, in New York on November 1st, in India there is none.
FIRST, LAST = "2026-10-24", "2026-11-02"
BEGIN, END = datetime(2026, 10, 23, 12, tzinfo=UTC), datetime(2026, 11, 3, 12, tzinfo=UTC)
ZONES = ("Europe/Madrid", "America/New_York", "Asia/Kolkata")
HISTORIES = 20
EXAMPLES = 10
IN_PERIOD = (
    "started_at >= ($1::date)::timestamp AT TIME ZONE $3 AND started_at < ($2::date + 1)::timestamp AT TIME ZONE $3"
)
SUMS = (
    "count(*)::int AS calls, "
    "count(*) FILTER (WHERE ending NOT IN ('completed', 'client_disconnected'))::int AS failed, "
    "coalesce(sum(prompt_tokens), 0)::bigint AS prompt, coalesce(sum(completion_tokens), 0)::bigint AS completion, "
    "coalesce(sum(cost_nano_usd), 0)::bigint AS cost"
)
# Of a history: when, which model, what it cost, its tokens, whether it failed.
CALL = st.tuples(
    st.integers(0, int((END - BEGIN).total_seconds()) * 1000 - 1)
    # Close to the bounds of the days of all zones.
    | st.builds(lambda quarter, ms: max(0, quarter * 900_000 + ms), st.integers(0, 11 * 96 - 1), st.integers(-1, 1)),
    st.integers(0, 1),
    st.sampled_from((0, 1)) | st.integers(0, 10**12),
    st.integers(0, 9_999),
    st.booleans(),
)
HISTORY = st.lists(CALL, min_size=1, max_size=8)


def nano_usd(text: str) -> int:
    """Of an amount as English writes it."""
    return int(Decimal(text.replace("$", "").replace(",", "")) * 10**9)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def figures(cells: Sequence[str]) -> tuple[int, ...]:
    """Calls, errors, tokens in and out, and cost of a row of the page's tables, as SUMS has them."""
    return (*(number(cell) for cell in cells[1:5]), nano_usd(cells[5]))


@pytest.fixture
async def people(pool: Pool) -> list[Any]:
    for moment in (BEGIN, END):
        await ensure_partition(pool, new_id(moment))
    for n in range(HISTORIES):
        await make_user(pool, f"person-{n:02}@example.org")
    return await pool.fetch(
        "SELECT u.id AS user_id, a.id AS account_id, u.email FROM users u JOIN accounts a ON a.owner_user_id = u.id "
        "WHERE u.email LIKE 'person-%' ORDER BY u.id"
    )


def rows_of(person: Any, history: Sequence[Any], models: Sequence[int]) -> list[UsageRow]:
    rows = []
    for ms, model, cost, tokens, has_failed in history:
        about = {"account_id": person["account_id"], "user_id": person["user_id"], "model_id": models[model]}
        about |= {"cost_nano_usd": cost, "counted_nano_usd": cost, "prompt_tokens": tokens}
        about |= {"ending": "timeout", "status": 504} if has_failed else {}
        rows.append(make_usage_row(BEGIN + timedelta(milliseconds=ms), **about))
    return rows


@pytest.fixture
async def admin(new_visitor: NewVisitor) -> Visitor:
    return await new_visitor("ada", is_admin=True)


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(histories=st.lists(HISTORY, min_size=HISTORIES, max_size=HISTORIES), zone_of_files=st.sampled_from(ZONES))
async def test_every_figure_is_that_of_the_ledger(
    database: Database, pool: Pool, admin: Visitor, people: list[Any], histories: list[Any], zone_of_files: str
) -> None:
    await empty_ledger(database)
    models = [row["id"] for row in await pool.fetch("SELECT id FROM models ORDER BY id")]
    every = zip(people, histories, strict=True)
    await write_rows(pool, [row for person, history in every for row in rows_of(person, history, models)])
    for zone in ZONES:
        admin.zone = zone
        await check_page_of_all(pool, admin, zone)
    await check_files(pool, admin, zone_of_files)


def address(zone: str, below: str = "", by: str = "user") -> str:
    what = f"by={by}&then_by=model&metric=cost" if by == "user" else f"by={by}&then_by="
    return f"/admin/usage{below}?{what}&period=custom&first={FIRST}&last={LAST}&zone={zone}"


async def sums(pool: Pool, zone: str, group: str | None = None) -> dict[Any, tuple[int, ...]]:
    """By SQL over the ledger's rows; of all without a group."""
    first, last = (datetime.fromisoformat(day).date() for day in (FIRST, LAST))
    column = f"{group} AS grp, " if group else ""
    sql = f"SELECT {column}{SUMS} FROM usage_logs WHERE {IN_PERIOD}" + (" GROUP BY 1" if group else "")
    found = await pool.fetch(sql, first, last, zone)
    return {row["grp"] if group else None: tuple(row)[1:] if group else tuple(row) for row in found}


async def check_page_of_all(pool: Pool, admin: Visitor, zone: str) -> None:
    await admin.open(address(zone))

    whole = (await sums(pool, zone))[None]
    *groups, total = admin.rows("groups")
    assert figures(total) == whole
    by_email = await sums(pool, zone, "(SELECT email FROM users u WHERE u.id = user_id)")
    by_model = await sums(
        pool, zone, "(SELECT email FROM users u WHERE u.id = user_id) || ' ' || "
        "(SELECT name FROM models m WHERE m.id = model_id)",
    )  # fmt: skip
    shown, parts, person = {}, {}, ""
    for row in groups:
        if row[0] in (OPEN, RESTRICTED):
            parts[f"{person} {row[0]}"] = figures(row)
        else:
            person = row[0]
            shown[person] = figures(row)
    # Of a period without calls there may be some before.
    assert {name: found for name, found in shown.items() if any(found)} == by_email
    assert parts == by_model
    days = await sums(pool, zone, f"to_char(started_at AT TIME ZONE '{zone}', 'Mon FMDD, YYYY')")
    points = {row[0]: figures(row) for row in admin.rows("points")}
    assert {day: point for day, point in points.items() if any(point)} == days
    hours = await sums(pool, zone, f"to_char(started_at AT TIME ZONE '{zone}', 'Dy HH24:MI')".replace("MI", '"00"'))
    week = {f"{row[0]} {row[1]}": (number(row[2]), nano_usd(row[3])) for row in admin.rows("hours")}
    assert week == {hour: (found[0], found[-1]) for hour, found in hours.items()}


async def check_files(pool: Pool, admin: Visitor, zone: str) -> None:
    """Lines of each file add up to the ledger."""
    whole = (await sums(pool, zone))[None]
    # With the parts of each group, and without.
    for name, by in (("table.csv", "user"), ("table.csv", "model"), ("days.csv", "user")):
        lines = await read_file(admin, address(zone, f"/files/{name}", by=by))
        added = [sum(int(line[column]) for line in lines) for column in ("calls", "prompt_tokens", "cost_nano_usd")]
        assert added == [whole[0], whole[2], whole[4]]


async def read_file(visitor: Visitor, path: str) -> list[dict[str, str]]:
    answer = await visitor.browser.get(path)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
