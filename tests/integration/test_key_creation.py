"""Keys: shown once, stored as a digest, and only for models the account is subscribed to."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from factories import ADMIN, PEPPERS, READER, make_key, make_model, make_subscription, make_team, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.people import teams
from gateway.domain.errors import GatewayError
from gateway.domain.keys import is_well_formed
from gateway.storage.key_records import find_key_record
from gateway.storage.postgres import Pool


async def test_the_gateway_finds_a_new_key_by_its_digest(pool: Pool) -> None:
    made = await make_key(pool, model="team/small")

    record = await find_key_record(pool, PEPPERS.digests(made.secret))

    assert is_well_formed(made.secret)
    assert record is not None
    assert record.key_id == made.row.id
    assert list(record.grants) == ["team/small"]


async def test_the_secret_of_a_key_is_nowhere_in_the_database(pool: Pool) -> None:
    made = await make_key(pool)

    rows = await pool.fetch(
        "SELECT api_keys::text AS text FROM api_keys UNION ALL SELECT audit_logs::text FROM audit_logs"
    )

    assert rows
    assert not any(made.secret in row["text"] for row in rows)
    assert made.secret not in repr(made)


async def test_limits_of_a_new_key_are_set_with_it(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    fields = keys.KeyInput(models=["small"], user=user.email, rpm=5, tpm=1000, concurrency=0)

    made = await keys.create_key(pool, ADMIN, PEPPERS, fields)

    found = (await limits.list_limits(pool, READER, level="key", target=str(made.row.id))).rows
    assert {limit.kind: limit.amount for limit in found} == {"rpm": 5, "tpm": 1000, "concurrency": 0}


async def test_an_invalid_limit_creates_no_key(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))

    with pytest.raises(GatewayError):
        await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=["small"], user=user.email, rpm=-1))

    assert await pool.fetchval("SELECT count(*) FROM api_keys") == 0


@pytest.mark.parametrize(
    ("status", "said"), [(None, "Subscribe to it"), ("pending", "approval"), ("suspended", "suspended")]
)
async def test_a_model_without_an_active_subscription_is_a_conflict_with_a_hint(
    pool: Pool, status: str | None, said: str
) -> None:
    user, model = await make_user(pool), await make_model(pool)
    if status is not None:
        row = await make_subscription(pool, user, model)
        await pool.execute("UPDATE subscriptions SET status = $2 WHERE id = $1", row.id, status)

    with pytest.raises(GatewayError, match=said) as caught:
        await make_key(pool, user, model)

    assert caught.value.code == "conflict"


async def test_a_key_can_only_name_existing_models(pool: Pool) -> None:
    user = await make_user(pool)

    for models, code in ((["none"], "not_found"), ([], "validation_failed")):
        with pytest.raises(GatewayError) as caught:
            await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=models, user=user.email))
        assert caught.value.code == code


async def test_a_model_named_twice_is_one_model(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))

    made = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=["small", "small"], user=user.email))

    assert made.row.models == ["small"]


async def test_a_service_key_belongs_to_the_team_and_no_user(pool: Pool) -> None:
    team = await make_team(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=await make_model(pool), team=team.name)

    made = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=["small"], team=str(team.id)))

    assert (made.row.account_id, made.row.user_id) == (team.id, None)


async def test_a_key_in_a_team_is_for_its_members_only(pool: Pool) -> None:
    team, stranger = await make_team(pool), await make_user(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=await make_model(pool), team=team.name)
    fields = keys.KeyInput(models=["small"], team=team.name, user=stranger.email)

    with pytest.raises(GatewayError, match="not in team") as caught:
        await keys.create_key(pool, ADMIN, PEPPERS, fields)

    assert caught.value.code == "conflict"


async def test_a_member_removed_during_a_key_creation_keeps_no_key(pool: Pool) -> None:
    model, user = await make_model(pool), await make_user(pool)
    team = await make_team(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    fields = keys.KeyInput(models=[model], team=team.name, user=user.email)

    for _ in range(10):
        await teams.add_member(pool, ADMIN, team.name, user=user.email)
        await asyncio.gather(
            keys.create_key(pool, ADMIN, PEPPERS, fields),
            teams.remove_member(pool, ADMIN, team.name, user=user.email),
            return_exceptions=True,
        )

        assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL") == 0


async def test_a_user_creates_only_their_own_keys(pool: Pool) -> None:
    user, other = await make_user(pool), await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    fields = keys.KeyInput(models=["small"], user=user.email)

    made = await keys.create_key(pool, owner_of(user), PEPPERS, fields)
    with pytest.raises(GatewayError) as caught:
        await keys.create_key(pool, owner_of(other), PEPPERS, fields)

    assert made.row.created_by == user.email
    assert caught.value.code == "not_found"


async def test_revoking_is_permanent_and_audited_once(pool: Pool) -> None:
    made = await make_key(pool)

    first = await keys.revoke_key(pool, ADMIN, made.row.id)
    second = await keys.revoke_key(pool, ADMIN, made.row.id)

    assert first.revoked_at is not None
    assert second.revoked_at == first.revoked_at
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'key.revoke'") == 1


async def test_an_unknown_key_is_not_found(pool: Pool) -> None:
    for key_id in (1, 0, -1, 2**70):
        with pytest.raises(GatewayError) as caught:
            await keys.revoke_key(pool, ADMIN, key_id)
        assert caught.value.code == "not_found"


async def test_allowed_addresses_and_expiry_are_stored_with_the_key(pool: Pool) -> None:
    user = await make_user(pool)
    await make_subscription(pool, user, await make_model(pool))
    end = datetime.now(UTC) + timedelta(days=1)
    fields = keys.KeyInput(models=["small"], user=user.email, allowed_ips=["10.1.2.3"], expires_at=end)

    made = await keys.create_key(pool, ADMIN, PEPPERS, fields)

    assert (made.row.allowed_ips, made.row.expires_at) == (["10.1.2.3/32"], end)
