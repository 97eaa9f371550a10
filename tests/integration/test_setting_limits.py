"""Rows of limits: one of each kind, with the right target, and audited."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from factories import ADMIN, READER, make_key, make_model, make_subscription, make_team, make_user

from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.storage.limits import LimitRow
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LEVELS
from gateway.storage.postgres import Pool

RPM = LimitInput(kind="rpm", amount=5)


async def set_on_key(pool: Pool, key_id: int, fields: LimitInput) -> LimitRow | None:
    done = await limits.set_limit(pool, ADMIN, fields, level="key", target=str(key_id), model=None, team=None)
    return done.row


async def test_setting_a_limit_again_changes_the_same_row(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id

    first = await set_on_key(pool, key_id, RPM)
    second = await set_on_key(pool, key_id, replace(RPM, amount=7, burst=Decimal("1.5")))

    assert first is not None
    assert second is not None
    assert (second.id, second.amount, second.burst) == (first.id, 7, Decimal("1.5"))


async def test_concurrent_changes_of_a_limit_leave_the_row_of_the_last_one(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id

    await asyncio.gather(*(set_on_key(pool, key_id, replace(RPM, amount=n)) for n in range(1, 21)))

    (row,) = (await limits.list_limits(pool, READER, level="key", target=str(key_id))).rows
    audited = await pool.fetch(
        "SELECT old->>'amount' AS old, new->>'amount' AS new FROM audit_logs "
        "WHERE action = 'limit.set' AND target_id = $1 ORDER BY id",
        str(row.id),
    )
    assert str(row.amount) == audited[-1]["new"]
    # Each change has the previous value: none overwrote an unseen one.
    assert [entry["old"] for entry in audited] == [None, *(entry["new"] for entry in audited[:-1])]


async def test_kinds_windows_shadow_and_temporary_limits_have_separate_rows(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id
    tokens = LimitInput(kind="tokens", amount=1, window="day")
    bodies = [
        RPM,
        replace(RPM, shadow=True),
        replace(RPM, expires_at=datetime.now(UTC) + timedelta(days=1), reason="launch"),
        replace(RPM, set_by="owner"),
        tokens,
        replace(tokens, window="month"),
    ]

    ids = {row.id for fields in bodies if (row := await set_on_key(pool, key_id, fields))}

    assert len(ids) == len(bodies)


async def test_unlimited_removes_the_permanent_and_the_temporary_limit(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id
    await set_on_key(pool, key_id, RPM)
    await set_on_key(pool, key_id, replace(RPM, expires_at=datetime.now(UTC) + timedelta(days=1)))

    gone = await set_on_key(pool, key_id, replace(RPM, amount=None))

    assert gone is None
    assert (await limits.list_limits(pool, READER, level="key", target=str(key_id))).rows == []


async def test_setting_the_same_limit_again_changes_and_audits_nothing(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id
    await set_on_key(pool, key_id, RPM)
    before = await pool.fetchrow("SELECT count(*), (SELECT sum(tick) FROM accounts) FROM audit_logs")

    await set_on_key(pool, key_id, RPM)

    assert await pool.fetchrow("SELECT count(*), (SELECT sum(tick) FROM accounts) FROM audit_logs") == before


async def test_each_level_is_set_on_its_own_target(pool: Pool) -> None:
    user, model = await make_user(pool), await make_model(pool)
    subscription = await make_subscription(pool, user, model)
    key = (await make_key(pool, user, model)).row
    team = await make_team(pool, user)
    targets = {
        "key": (str(key.id), None, None),
        "key_model": (str(key.id), model, None),
        "subscription": (str(subscription.id), None, None),
        "user": (str(user.id), None, None),
        "team": (str(team.id), None, None),
    }

    made = {
        level: (await limits.set_limit(pool, ADMIN, RPM, level=level, target=target, model=name, team=of)).row
        for level, (target, name, of) in targets.items()
    }
    done = await limits.set_limit(pool, ADMIN, RPM, level="user", target=user.email, model=None, team=team.name)
    inside = done.row

    assert set(made) == set(LEVELS)
    assert {level: row.account_id for level, row in made.items() if row} == {
        "key": user.account_id,
        "key_model": user.account_id,
        "subscription": user.account_id,
        "user": user.account_id,
        "team": team.id,
    }
    assert inside is not None
    assert (inside.account_id, inside.user_id) == (team.id, user.id)


@pytest.mark.parametrize(
    ("level", "target", "model", "team", "code"),
    [
        ("key", "999", None, None, "not_found"),
        ("key", "abc", None, None, "not_found"),
        ("key", "1", "small", None, "validation_failed"),
        ("key_model", "1", None, None, "validation_failed"),
        ("key_model", "1", "none", None, "not_found"),
        ("subscription", "999", None, None, "not_found"),
        ("user", "nobody@x.org", None, None, "not_found"),
        ("team", "none", None, None, "not_found"),
        ("team", "1", None, "red", "validation_failed"),
        ("planet", "1", None, None, "validation_failed"),
    ],
)
async def test_a_target_that_does_not_match_the_level_is_refused(
    pool: Pool, level: str, target: str, model: str | None, team: str | None, code: str
) -> None:
    await make_key(pool)

    with pytest.raises(GatewayError) as caught:
        await limits.set_limit(pool, ADMIN, RPM, level=level, target=target, model=model, team=team)

    assert caught.value.code == code


async def test_a_user_outside_a_team_has_no_limit_in_it(pool: Pool) -> None:
    team, user = await make_team(pool), await make_user(pool)

    with pytest.raises(GatewayError, match="not in team"):
        await limits.set_limit(pool, ADMIN, RPM, level="user", target=user.email, model=None, team=team.name)


async def test_a_removed_limit_is_gone_and_audited(pool: Pool) -> None:
    key_id = (await make_key(pool)).row.id
    row = await set_on_key(pool, key_id, RPM)
    assert row is not None

    await limits.delete_limit(pool, ADMIN, row.id)
    with pytest.raises(GatewayError) as caught:
        await limits.delete_limit(pool, ADMIN, row.id)

    assert caught.value.code == "not_found"
    old = await pool.fetchval("SELECT old->>'amount' FROM audit_logs WHERE action = 'limit.delete'")
    assert old == "5"


async def test_a_read_only_admin_cannot_set_a_limit(pool: Pool) -> None:
    with pytest.raises(GatewayError) as caught:
        await limits.set_limit(pool, READER, RPM, level="key", target="1", model=None, team=None)

    assert caught.value.code == "forbidden"
