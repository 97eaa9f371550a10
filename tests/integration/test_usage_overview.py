"""Overviews of usage, hours of the week, and refusals over time: against sums of the rows in plain Python."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from factories import ADMIN, make_model, make_team, make_user, owner_of
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.dates import earlier_period
from admin_api.operations.usage import group_reader
from admin_api.operations.usage.grouping import BY
from admin_api.operations.usage.overview import OverviewInput, read_overview, read_week
from admin_api.operations.usage.refusal_counts import REFUSALS_BY, count_refusals
from admin_api.operations.usage.scope import UsageFilter
from admin_api.storage.usage.queries import UsageSums
from admin_api.storage.users import User
from gateway.domain.error_classes import error_class_of
from gateway.domain.errors import GatewayError
from gateway.domain.usage_rows import UsageRow
from gateway.storage.postgres import Pool

ZONE = ZoneInfo("Asia/Kolkata")
MADRID = ZoneInfo("Europe/Madrid")
PERIOD = "last-3-days"
INSERT_KEY = (
    "INSERT INTO api_keys (account_id, user_id, digest, pepper_version, last_four, created_by) "
    "VALUES ($1, $2, $3, 1, '0000', 'test') RETURNING id"
)


class Ledger(NamedTuple):
    """Rows, the provider of each model, and a user who has calls in two accounts."""

    rows: list[UsageRow]
    models: dict[int, str | None]
    user: User


def total(sums: Any) -> UsageSums:
    added = UsageSums()
    for one in sums:
        added += one
    return added


def group_of(row: UsageRow, by: str, models: dict[int, str | None]) -> str | None:
    words = {
        "model": str(row.model_id), "provider": models[row.model_id], "key": str(row.api_key_id),
        "user": str(row.user_id) if row.user_id else None, "account": str(row.account_id),
        "ending": row.ending, "error_class": error_class_of(row),
    }  # fmt: skip
    return words[by]


async def make_rows(pool: Pool) -> Ledger:
    """Of three accounts, three models of one provider and none, users and a service key, over eight days."""
    users = [await make_user(pool) for _ in range(2)]
    team = await make_team(pool, users[0], name="red")
    names = [await make_model(pool, f"model-{n}") for n in range(3)]
    await pool.execute("UPDATE models SET provider = 'one' WHERE name = ANY($1::text[])", names[:2])
    models = {row["id"]: row["provider"] for row in await pool.fetch("SELECT id, provider FROM models")}
    pick, rows = Random(5), []
    owners = [(user.account_id, user.id) for user in users] + [(team.id, users[0].id), (team.id, None)]
    keys = [
        (await pool.fetchval(INSERT_KEY, account_id, user_id, bytes([n]) * 32), account_id, user_id)
        for n, (account_id, user_id) in enumerate(owners)
    ]
    for _ in range(300):
        key_id, account_id, user_id = pick.choice(keys)
        about = {"account_id": account_id, "user_id": user_id, "api_key_id": key_id}
        about |= {"model_id": pick.choice([*models]), "cost_nano_usd": pick.choice((0, 1, pick.randint(0, 10**12)))}
        about |= {"ending": pick.choice(("completed", "completed", "timeout")), "prompt_tokens": pick.randint(0, 99)}
        rows.append(make_usage_row(TODAY - timedelta(seconds=pick.randint(-3600, 8 * 86400)), **about))
    await write_rows(pool, rows)
    return Ledger(rows, models, users[0])


async def has_answer(pool: Pool, query: UsageFilter, asked: OverviewInput) -> bool:
    """Whether rollups have it for all accounts; the refusal says what is missing."""
    try:
        await read_overview(pool, ADMIN, query, asked)
    except GatewayError as refused:
        if "also needs a team or a user" in refused.message:
            return False
        raise
    return True


def sums_of(rows: list[UsageRow]) -> tuple[int, int, int]:
    return len(rows), sum(row.prompt_tokens for row in rows), sum(row.cost_nano_usd or 0 for row in rows)


def shown(sums: UsageSums) -> tuple[int, int, int]:
    return sums.calls, sums.prompt_tokens, sums.cost_nano_usd


async def test_every_group_and_part_and_step_equals_the_rows(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that groups have more parts than are listed.
    monkeypatch.setattr(group_reader, "MAX_PARTS", 2)
    rows, models, _ = await make_rows(pool)
    query = UsageFilter(period=PERIOD, time_zone=str(ZONE))
    answered = 0
    for by in BY:
        for then_by in (None, *(one for one in BY if one not in (by, "team"))):
            asked = OverviewInput(by=by, then_by=then_by, limit=2)
            if not await has_answer(pool, query, asked):
                continue
            found = await read_overview(pool, ADMIN, query, asked)
            answered += 1
            own = [row for row in rows if found.since <= row.started_at < found.until]
            before = [row for row in rows if found.previous_since <= row.started_at < found.previous_until]
            assert shown(found.total.sums) == sums_of(own)
            assert shown(found.total.before) == sums_of(before)
            every = [*(group.figures for group in found.groups), found.others]
            assert total(one.sums for one in every) == found.total.sums
            assert total(one.before for one in every) == found.total.before
            for n, (start, end) in enumerate(zip(found.bounds, found.bounds[1:], strict=False)):
                step = [row for row in own if start <= row.started_at < end]
                assert shown(found.total.points[n]) == sums_of(step)
                assert total(one.points[n] for one in every) == found.total.points[n]
            for group in found.groups if by != "team" else []:
                mine = [row for row in own if group_of(row, by, models) == group.id]
                assert shown(group.figures.sums) == sums_of(mine), (by, then_by, group)
                earlier = [row for row in before if group_of(row, by, models) == group.id]
                assert shown(group.figures.before) == sums_of(earlier), (by, group)
                for n, (start, end) in enumerate(zip(found.bounds, found.bounds[1:], strict=False)):
                    step = [row for row in mine if start <= row.started_at < end]
                    assert shown(group.figures.points[n]) == sums_of(step), (by, group, n)
                for part in group.parts:
                    parts = [row for row in mine if group_of(row, then_by or "", models) == part.id]
                    assert shown(part.sums) == sums_of(parts), (by, then_by, part)
                if then_by is not None:
                    assert total([*(part.sums for part in group.parts), group.other_parts]) == group.figures.sums
                    assert len({group_of(row, then_by, models) for row in mine}) == group.number_of_parts
    assert answered >= 35


async def test_the_hours_of_the_week_equal_the_rows(pool: Pool) -> None:
    rows = (await make_rows(pool)).rows

    for zone in (ZONE, MADRID):
        found = await read_week(pool, ADMIN, UsageFilter(period="last-7-days", time_zone=str(zone)))
        own = [row.started_at.astimezone(zone) for row in rows if found.since <= row.started_at < found.until]
        counted = Counter((local.isoweekday(), local.hour) for local in own)
        assert {(one.weekday, one.hour): one.sums.calls for one in found.hours if one.sums.calls} == counted
        assert len(found.hours) == 168


async def test_users_see_their_own_and_members_no_people(pool: Pool) -> None:
    rows, _, user = await make_rows(pool)
    actor = owner_of(user)

    found = await read_overview(pool, actor, UsageFilter(period=PERIOD), OverviewInput(by="key", then_by="model"))

    own = [row for row in rows if row.user_id == user.id and found.since <= row.started_at < found.until]
    assert shown(found.total.sums) == sums_of(own)
    with pytest.raises(GatewayError) as caught:
        await read_overview(pool, actor, UsageFilter(team="red"), OverviewInput(by="model", then_by="user"))
    assert caught.value.code == "forbidden"


@pytest.mark.parametrize(
    ("period", "now", "expected"),
    [
        (("2026-11-01", "2026-12-01"), "2026-12-05", ("2026-10-01", "2026-11-01")),
        (("2026-03-01", "2026-04-01"), "2026-04-05", ("2026-02-01", "2026-03-01")),
        (("2026-01-01", "2027-01-01"), "2027-04-05", ("2025-01-01", "2026-01-01")),
        # Of a period that still runs: as much as has passed.
        (("2026-11-01", "2026-12-01"), "2026-11-11", ("2026-10-01", "2026-10-11")),
        # February is shorter than what has passed of March.
        (("2026-03-01", "2026-04-01"), "2026-03-30", ("2026-02-01", "2026-03-01")),
        (("2026-11-05", "2026-11-08"), "2026-12-05", ("2026-11-02", "2026-11-05")),
        # Through the end of summer time, a week is a week of its days.
        (("2026-10-26", "2026-11-02"), "2026-12-05", ("2026-10-19", "2026-10-26")),
    ],
)
def test_the_period_before(period: tuple[str, str], now: str, expected: tuple[str, str]) -> None:
    def utc(day: str) -> datetime:
        return datetime.fromisoformat(day).replace(tzinfo=MADRID).astimezone(UTC)

    assert earlier_period(utc(period[0]), utc(period[1]), MADRID, utc(now)) == (utc(expected[0]), utc(expected[1]))


async def test_refusals_over_time_equal_their_counts(pool: Pool) -> None:
    pick = Random(7)
    hour = TODAY - timedelta(days=1)
    rows = {
        (hour + timedelta(hours=pick.randint(-40, 20)), *(pick.randint(0, 4) for _ in range(4)), pick.choice("ab"))
        for _ in range(300)
    }
    counts = [
        (*row[:5], 0, {"a": "insufficient_quota", "b": "model_not_found"}[row[5]], pick.randint(1, 9)) for row in rows
    ]
    await pool.executemany(
        "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", counts,
    )  # fmt: skip

    columns = {"account": 1, "user": 2, "key": 3, "model": 4, "code": 6}
    for by in REFUSALS_BY:
        for step in ("hour", "day"):
            query = UsageFilter(period="last-2-days", time_zone=str(ZONE))
            found = await count_refusals(pool, ADMIN, query, by=by, step=step, limit=2)
            own = [row for row in counts if found.since <= row[0] < found.until]
            assert found.total == sum(row[7] for row in own)
            for n, (start, end) in enumerate(zip(found.bounds, found.bounds[1:], strict=False)):
                assert found.points[n] == sum(row[7] for row in own if start <= row[0] < end)
            assert found.number_of_groups == len({row[columns[by]] for row in own})
            for group in found.groups:
                mine = [row for row in own if str(row[columns[by]]) == (group.id or "0")]
                assert group.count == sum(group.points) == sum(row[7] for row in mine)
            assert found.others == found.total - sum(group.count for group in found.groups)
