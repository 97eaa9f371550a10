"""Keys that nobody uses, and keys of users who do not log in, end as the settings say: announced before (case A14)."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from conftest import Database
from factories import ADMIN, PEPPERS, make_key, make_model, make_team, make_user
from usage_rows import make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.keys.idle_keys import EndedKeys, end_idle_keys
from admin_api.operations.notifications.email_texts import write_email
from admin_api.operations.people import teams
from admin_api.operations.runtime_settings import update_settings
from gateway.storage.postgres import Pool

NOW = datetime.now(UTC)
NOTHING = EndedKeys(announced=0, ended=0)
IDLE = "UPDATE api_key_uses SET idle_since = $2, last_used_at = $2 WHERE api_key_id = $1"
BORN = "UPDATE api_keys SET created_at = $2 WHERE id = $1"


async def make_idle(pool: Pool, days: float, *, logged_in: float = 0) -> keys.NewKey:
    """A key of a user of its own, unused for so long, whose user logged in so long ago."""
    user = await make_user(pool)
    model = await pool.fetchval("SELECT name FROM models") or await make_model(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, user=user.email)
    key = await make_key(pool, user)
    await pool.execute(IDLE, key.row.id, NOW - timedelta(days=days))
    await pool.execute(BORN, key.row.id, NOW - timedelta(days=400))
    login = "UPDATE users SET last_login_at = $2 WHERE id = $1"
    await pool.execute(login, user.id, NOW - timedelta(days=logged_in))
    return key


async def is_revoked(pool: Pool, key: keys.NewKey) -> bool:
    return (await keys.find_key(pool, ADMIN, key.row.id)).revoked_at is not None


async def messages(pool: Pool) -> list[tuple[str, int, str]]:
    """Event, user and reason of each e-mail."""
    rows = await pool.fetch(
        "SELECT event, user_id, payload ->> 'reason' AS reason FROM deliveries WHERE channel = 'email' ORDER BY id"
    )
    return [tuple(row) for row in rows if row["event"].startswith("key.")]


async def test_a14_no_key_ends_unless_a_setting_says_so(pool: Pool) -> None:
    key = await make_idle(pool, 3000, logged_in=3000)

    assert await end_idle_keys(pool) == NOTHING
    assert not await is_revoked(pool, key)


@pytest.mark.parametrize("reason", ["unused", "no_login"])
async def test_a14_an_idle_key_is_announced_and_then_ends(pool: Pool, reason: str) -> None:
    setting = {"unused": "key_maximum_unused_days", "no_login": "key_maximum_days_without_login"}[reason]
    ages = {"unused": (80.0, 0.0), "no_login": (0.0, 80.0)}[reason]
    key = await make_idle(pool, ages[0], logged_in=ages[1])
    busy = await make_idle(pool, 70, logged_in=70)
    await update_settings(pool, ADMIN, {setting: 90, "key_warning_days": 14})

    runs = [await end_idle_keys(pool, NOW + timedelta(days=days)) for days in (0, 0.1, 9, 13.9)]
    alive = not await is_revoked(pool, key)
    await pool.execute(IDLE, busy.row.id, NOW)
    await pool.execute("UPDATE users SET last_login_at = $2 WHERE id = $1", busy.row.user_id, NOW)
    last = [await end_idle_keys(pool, NOW + timedelta(days=days)) for days in (14.1, 14.2)]

    # The other is announced on its 76th day, and used before it ends.
    assert runs == [EndedKeys(announced=1, ended=0), NOTHING, EndedKeys(announced=1, ended=0), NOTHING]
    assert (alive, last) == (True, [EndedKeys(announced=0, ended=1), NOTHING])
    assert (await is_revoked(pool, key), await is_revoked(pool, busy)) == (True, False)
    events = [("key.ending", key), ("key.ending", busy), ("key.ended", key)]
    assert await messages(pool) == [(event, one.row.user_id, reason) for event, one in events]
    row = await pool.fetchrow("SELECT actor, cause, target_id FROM audit_logs WHERE action = 'key.revoke'")
    assert (row["actor"], row["target_id"]) == ("system", str(key.row.id))
    assert f"for 90 days ({setting})" in row["cause"]


async def test_a14_a_new_setting_ends_no_key_without_notice(pool: Pool) -> None:
    key = await make_idle(pool, 1000)
    await update_settings(pool, ADMIN, {"key_maximum_unused_days": 90})

    runs = [await end_idle_keys(pool, NOW + timedelta(days=days)) for days in (0, 13.9, 14)]

    assert [(run.announced, run.ended) for run in runs] == [(1, 0), (0, 0), (0, 1)]
    assert await is_revoked(pool, key)
    payload = await pool.fetchval("SELECT payload FROM deliveries WHERE event = 'key.ending'")
    assert (NOW + timedelta(days=14)).isoformat()[:16] in payload


async def test_a14_a_call_after_the_announcement_keeps_the_key(pool: Pool) -> None:
    key = await make_idle(pool, 85)
    await update_settings(pool, ADMIN, {"key_maximum_unused_days": 90})
    assert (await end_idle_keys(pool, NOW - timedelta(hours=1))).announced == 1

    row = key.row
    await write_rows(pool, [make_usage_row(NOW, account_id=row.account_id, user_id=row.user_id, api_key_id=row.id)])

    assert await end_idle_keys(pool, NOW + timedelta(days=15)) == NOTHING
    # Unused again, it is announced again.
    assert await end_idle_keys(pool, NOW + timedelta(days=77)) == EndedKeys(announced=1, ended=0)


async def test_a14_a_service_key_tells_owners_and_needs_no_login(pool: Pool) -> None:
    ann = await make_user(pool)
    team = await make_team(pool, name="red")
    await teams.add_member(pool, ADMIN, "red", user=ann.email, role="owner")
    model = await make_model(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team="red")
    key = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[model], team="red"))
    await pool.execute(BORN, key.row.id, NOW - timedelta(days=400))
    await update_settings(pool, ADMIN, {"key_maximum_days_without_login": 90})
    assert await end_idle_keys(pool) == NOTHING

    await pool.execute(IDLE, key.row.id, NOW - timedelta(days=400))
    await update_settings(pool, ADMIN, {"key_maximum_unused_days": 90})

    assert (await end_idle_keys(pool)).announced == 1
    assert await messages(pool) == [("key.ending", ann.id, "unused")]
    assert team.id == key.row.account_id


async def test_a14_keys_that_ended_are_left_alone(pool: Pool, database: Database) -> None:
    revoked, expired = await make_idle(pool, 400), await make_idle(pool, 400)
    await keys.revoke_key(pool, ADMIN, revoked.row.id)
    await pool.execute("UPDATE api_keys SET expires_at = now() - interval '1 day' WHERE id = $1", expired.row.id)
    await update_settings(pool, ADMIN, {"key_maximum_unused_days": 90})

    assert await end_idle_keys(pool) == NOTHING
    connection = await asyncpg.connect(database.owner_url)
    assert await connection.fetchval("SELECT count(*) FROM api_key_uses WHERE announced_at IS NOT NULL") == 0
    await connection.close()


@pytest.mark.parametrize("locale", ["en", "es", "fr"])
@pytest.mark.parametrize("event", ["key.ending", "key.ended"])
@pytest.mark.parametrize("reason", ["unused", "no_login"])
def test_a14_e_mails_say_which_key_and_why(locale: str, event: str, reason: str) -> None:
    data = {
        "key": "", "key_last_four": "abcd", "account": "red", "user": "ann@example.org", "reason": reason, "days": 90,
        "ends_at": "2027-01-31T12:00:00+00:00",
    }  # fmt: skip

    subject, text = write_email(event, data, locale)

    assert "…abcd" in subject
    assert "90" in text
    assert "red" in text
    assert ("2027-01-31" in text) == (event == "key.ending")
