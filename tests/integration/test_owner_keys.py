"""Keys for their owners: visibility, changes, and the ceilings of admins."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from factories import (
    ADMIN,
    PEPPERS,
    READER,
    code_of,
    make_key,
    make_model,
    make_subscription,
    make_team,
    make_user,
    owner_of,
)

from admin_api.operations import runtime_settings, subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import changes, keys
from admin_api.operations.keys.changes import KeyChange
from admin_api.operations.keys.keys import KeyInput, NewKey
from admin_api.operations.limits import limits
from admin_api.operations.people import teams
from admin_api.storage.api_keys import UnavailableModel
from admin_api.storage.users import User
from gateway.storage.key_records import find_key_record
from gateway.storage.postgres import Pool


async def make_owner(pool: Pool) -> User:
    """A user with an active subscription to model `small`, which is created if it does not exist."""
    user = await make_user(pool)
    if await pool.fetchval("SELECT count(*) FROM models WHERE name = 'small'") == 0:
        await make_model(pool)
    await make_subscription(pool, user, "small")
    return user


async def create(pool: Pool, actor: Actor, **fields: Any) -> NewKey:
    return await keys.create_key(pool, actor, PEPPERS, KeyInput(**({"models": ["small"]} | fields)))


async def ends_of(pool: Pool, *secrets: str) -> list[datetime | str | None]:
    """For each key: when it ends, or `unknown`."""
    records = [await find_key_record(pool, PEPPERS.digests(secret)) for secret in secrets]
    return [record.expires_at if record else "unknown" for record in records]


async def test_a_rotated_key_has_two_secrets_until_the_grace_period_ends(pool: Pool) -> None:
    owner = await make_owner(pool)
    old = await create(pool, owner_of(owner), name="app", rpm=7)

    new = await changes.rotate_key(pool, owner_of(owner), PEPPERS, old.row.id, grace_s=3600)

    # The same row: counters of the key continue, so a rotation does not bypass a limit.
    first, second = [await find_key_record(pool, PEPPERS.digests(secret)) for secret in (old.secret, new.secret)]
    assert first is not None
    assert second is not None
    assert (first.key_id, second.key_id, second.expires_at) == (old.row.id, old.row.id, None)
    assert first.expires_at is not None
    assert timedelta(minutes=59) < first.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert first.grants["small"].limits == second.grants["small"].limits
    assert (new.row.name, new.row.models, new.row.previous_last_four) == ("app", ["small"], old.secret[-4:])
    texts = await pool.fetch(
        "SELECT api_keys::text AS t FROM api_keys UNION ALL SELECT audit_logs::text FROM audit_logs"
    )
    assert not any(secret in row["t"] for row in texts for secret in (old.secret, new.secret))


async def test_a_second_rotation_waits_for_the_grace_period_or_ends_all_older_secrets(pool: Pool) -> None:
    made = await make_key(pool)
    one = await changes.rotate_key(pool, ADMIN, PEPPERS, made.row.id)

    again = changes.rotate_key(pool, ADMIN, PEPPERS, made.row.id, grace_s=60)
    assert await code_of(again) == "conflict"
    two = await changes.rotate_key(pool, ADMIN, PEPPERS, made.row.id, grace_s=0)

    assert await ends_of(pool, made.secret, one.secret, two.secret) == ["unknown", "unknown", None]
    assert two.row.previous_ends_at is None


async def test_a_grace_period_does_not_extend_a_key_and_ends_with_its_revocation(pool: Pool) -> None:
    owner = await make_owner(pool)
    soon = datetime.now(UTC) + timedelta(minutes=5)
    old = await create(pool, owner_of(owner), expires_at=soon)
    new = await changes.rotate_key(pool, owner_of(owner), PEPPERS, old.row.id)

    assert await ends_of(pool, old.secret, new.secret) == [soon, soon]
    await keys.revoke_key(pool, owner_of(owner), old.row.id)
    records = [await find_key_record(pool, PEPPERS.digests(secret)) for secret in (old.secret, new.secret)]
    assert [record is not None and record.is_revoked for record in records] == [True, True]
    rotated = changes.rotate_key(pool, owner_of(owner), PEPPERS, old.row.id)
    assert await code_of(rotated) == "conflict"


async def test_keys_are_seen_and_changed_only_by_their_owners(pool: Pool) -> None:
    ann, bob, carol = await make_owner(pool), await make_user(pool), await make_user(pool)
    team = await make_team(pool, ann)
    await teams.add_member(pool, ADMIN, team.name, user=bob.email, role="owner")
    await subscriptions.create_subscription(pool, ADMIN, model="small", team=team.name)

    own = (await create(pool, owner_of(ann))).row
    member = (await create(pool, owner_of(ann), team=team.name, user=ann.email)).row
    service = (await create(pool, owner_of(bob), team=team.name)).row

    assert (own.account_id, member.account_id, member.user_id) == (ann.account_id, team.id, ann.id)
    assert (service.account_id, service.user_id) == (team.id, None)
    for actor, fields, code in (
        (owner_of(ann), {"team": team.name}, "forbidden"),
        (owner_of(bob), {"team": team.name, "user": ann.email}, "forbidden"),
        (owner_of(carol), {"team": team.name, "user": carol.email}, "not_found"),
        (owner_of(carol), {"user": ann.email}, "not_found"),
        (owner_of(carol), {}, "conflict"),
        (READER, {"user": ann.email}, "forbidden"),
    ):
        assert await code_of(create(pool, actor, **fields)) == code, fields
    seen = {
        actor.name: [row.id for row in (await keys.list_keys(pool, actor)).rows]
        for actor in (owner_of(ann), owner_of(bob), owner_of(carol), READER)
    }
    assert list(seen.values()) == [
        [own.id, member.id],
        [member.id, service.id],
        [],
        [own.id, member.id, service.id],
    ]
    change = KeyChange(name="other")
    may = {
        (actor.name, row.id): await code_of(changes.update_key(pool, actor, row.id, change))
        for actor in (owner_of(ann), owner_of(bob), owner_of(carol), READER)
        for row in (own, member, service)
    }
    assert list(may.values()) == [
        *("done", "done", "not_found"),
        *("not_found", "done", "done"),
        *("not_found", "not_found", "not_found"),
        *("forbidden", "forbidden", "forbidden"),
    ]
    await teams.remove_member(pool, ADMIN, team.name, user=ann.email)
    # They see their former key but cannot change it.
    assert await code_of(changes.rotate_key(pool, owner_of(ann), PEPPERS, member.id)) == "forbidden"


async def test_a_key_update_changes_the_given_fields_and_returns_them(pool: Pool) -> None:
    owner = await make_owner(pool)
    actor = owner_of(owner)
    for name in ("large", "pending"):
        await make_subscription(pool, owner, await make_model(pool, name, restricted=name == "pending"))
    row = (await create(pool, actor, name="app", models=["large", "small"], allowed_ips=["10.0.0.0/8"])).row
    # It keeps its models even while the subscription is suspended.
    await pool.execute("UPDATE subscriptions SET status = 'suspended' WHERE model_id = (SELECT min(id) FROM models)")

    changed = await changes.update_key(pool, actor, row.id, KeyChange(name="b", models=["small"]))
    same = await changes.update_key(pool, actor, row.id, KeyChange(name="b"))
    none = await changes.update_key(pool, actor, row.id, KeyChange(models=[], allowed_ips=[]))

    suspended = [UnavailableModel("small", "suspended")]
    expected = replace(row, name="b", models=["small"], unavailable=suspended)
    assert replace(changed, updated_at=row.updated_at) == expected
    assert same == changed
    assert (none.models, none.allowed_ips) == ([], [])
    pending = changes.update_key(pool, actor, row.id, KeyChange(models=["pending"]))
    assert await code_of(pending) == "conflict"
    reported = await pool.fetch("SELECT old::text, new::text FROM audit_logs WHERE action = 'key.update' ORDER BY id")
    assert [tuple(entry) for entry in reported] == [
        ('{"name": "app", "models": ["large", "small"]}', '{"name": "b", "models": ["small"]}'),
        ('{"models": ["small"], "allowed_ips": ["10.0.0.0/8"]}', '{"models": [], "allowed_ips": []}'),
    ]


async def test_only_an_ended_key_can_be_archived_and_it_stays_ended(pool: Pool) -> None:
    owner = await make_owner(pool)
    actor = owner_of(owner)
    row = (await create(pool, actor)).row
    assert await code_of(changes.archive_key(pool, actor, row.id)) == "conflict"
    await keys.revoke_key(pool, actor, row.id)

    await changes.archive_key(pool, actor, row.id)

    assert (await keys.list_keys(pool, actor)).rows == []
    assert [found.id for found in (await keys.list_keys(pool, actor, archived=True)).rows] == [row.id]
    back = await changes.archive_key(pool, actor, row.id, archived=False)
    assert (back.archived_at, back.is_active(datetime.now(UTC))) == (None, False)
    assert await code_of(changes.update_key(pool, actor, row.id, KeyChange(name="x"))) == "conflict"


async def test_fifty_concurrent_creations_stop_at_the_maximum_number_of_keys(pool: Pool) -> None:
    owner = await make_owner(pool)
    await runtime_settings.update_settings(pool, ADMIN, {"user_maximum_keys": 4})
    ended = (await create(pool, owner_of(owner))).row
    await keys.revoke_key(pool, owner_of(owner), ended.id)

    made = await asyncio.gather(*(code_of(create(pool, owner_of(owner))) for _ in range(50)))

    assert (made.count("done"), made.count("conflict")) == (4, 46)
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 4
    # Ceilings bind owners.
    await create(pool, ADMIN, user=owner.email)


async def test_omitting_or_removing_a_limit_does_not_exceed_a_ceiling(pool: Pool) -> None:
    owner = await make_owner(pool)
    await runtime_settings.update_settings(
        pool,
        ADMIN,
        {"key_maximum_rpm": 60, "key_default_rpm": 20, "key_maximum_tpm": 1000, "key_maximum_monthly_cost_nano_usd": 5}
        | {"key_maximum_expiry_days": 30, "key_default_expiry_days": 7},
    )

    async def holding(key_id: int) -> set[tuple[str, str, int]]:
        found = (await limits.list_limits(pool, READER, level="key", target=str(key_id))).rows
        return {(row.kind, row.set_by, row.amount) for row in found}

    ceilings = {("rpm", "admin", 60), ("tpm", "admin", 1000), ("cost", "admin", 5)}
    left_out = (await create(pool, owner_of(owner))).row
    requested = (await create(pool, owner_of(owner), rpm=60, tpm=10)).row
    by_admin = (await create(pool, ADMIN, user=owner.email, tpm=5000)).row

    assert await holding(left_out.id) == ceilings | {("rpm", "owner", 20)}
    assert await holding(requested.id) == ceilings | {("tpm", "owner", 10)}
    assert await holding(by_admin.id) == {("rpm", "admin", 20), ("tpm", "admin", 5000)}
    days = [(row.expires_at - datetime.now(UTC)).days for row in (left_out, by_admin) if row.expires_at]
    assert days == [6, 6]
    far = datetime.now(UTC) + timedelta(days=31)
    for attempt in (
        create(pool, owner_of(owner), rpm=61),
        create(pool, owner_of(owner), monthly_cost_nano_usd=6),
        create(pool, owner_of(owner), expires_at=far),
        changes.update_key(pool, owner_of(owner), left_out.id, KeyChange(expires_at=far)),
        changes.update_key(pool, owner_of(owner), left_out.id, KeyChange(never_expires=True)),
    ):
        assert await code_of(attempt) == "validation_failed"
    assert (await changes.update_key(pool, ADMIN, left_out.id, KeyChange(never_expires=True))).expires_at is None


async def test_settings_are_typed_returned_in_both_units_and_audited(admin: httpx2.AsyncClient, pool: Pool) -> None:
    path = "/api/v1/admin/settings"

    changed = await admin.put(
        path, json={"key_maximum_monthly_cost_usd": "25.5", "subscription_default_monthly_tokens": 7}
    )

    body = (await admin.get(path)).json()
    assert changed.json() == body
    assert (body["key_maximum_monthly_cost_nano_usd"], body["key_maximum_monthly_cost_usd"]) == (25_500_000_000, "25.5")
    assert (await admin.put(path, json=body)).json() == body
    for wrong in ({"key_maximum_rpm": -1}, {"key_maximum_rpm": "5"}, {"nonsense": 1}, {"user_maximum_keys": True}):
        assert (await admin.put(path, json=wrong)).status_code == 422, wrong
    assert (await admin.put(path, json={"key_default_rpm": 9, "key_maximum_rpm": 8})).status_code == 422
    row = await make_subscription(pool, await make_user(pool), await make_model(pool))
    found = (await limits.list_limits(pool, READER, level="subscription", target=str(row.id))).rows
    assert {limit.kind: limit.amount for limit in found} == {"requests": 10_000, "tokens": 7}
    reported = await pool.fetch("SELECT old::text, new::text FROM audit_logs WHERE action = 'settings.update'")
    assert len(reported) == 1
    assert '"subscription_default_monthly_tokens": 1000000' in reported[0]["old"]
    assert '"subscription_default_monthly_tokens": 7' in reported[0]["new"]
