"""The audit log: reading, filters, exports, and no way for the app role to change it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx2
import pytest
from admin_client import LOGIN, check_error, settings_for
from conftest import Database
from factories import ADMIN, READER, make_user, owner_of

from admin_api.main import create_app
from admin_api.operations.audit import ROWS_A_PART, list_activity, list_audit
from admin_api.operations.people import teams
from gateway.domain.errors import GatewayError
from gateway.storage.audit import AuditFilter
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/audit"
OLD_ROW = (
    "INSERT INTO audit_logs (at, actor, action, target_kind, target_id) "
    "VALUES (now() - interval '91 days', 'me', 'test', 'test', '1'), (now(), 'me', 'test', 'test', '2')"
)


async def test_audit_filters_combine(admin: httpx2.AsyncClient, pool: Pool) -> None:
    for name in ("red", "blue"):
        await admin.post("/api/v1/teams", json={"name": name})
    user = await make_user(pool)
    await teams.add_member(pool, ADMIN, "red", user=user.email)
    answer = await admin.post("/api/v1/teams", json={"name": "green"})

    async def actions(**params: str) -> list[str]:
        body = (await admin.get(PATH, params=params)).json()
        return [f"{row['action']} {row['actor']}" for row in body["rows"]]

    assert await actions(action="team.create") == ["team.create admin-token"] * 3
    assert await actions(actor="test", target_kind="user") == ["user.create test"]
    assert await actions(actor="admin-token", action="user.create") == []
    assert await actions(request_id=answer.headers["x-request-id"]) == ["team.create admin-token"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await actions(since=tomorrow) == []
    assert len(await actions(until=tomorrow)) == 5
    check_error(await admin.get(PATH, params={"since": tomorrow, "until": tomorrow}), 422, "validation_failed")
    check_error(await admin.get(PATH, params={"actor": "a\x00"}), 422, "validation_failed")


async def test_pages_contain_every_row_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    for n in range(5):
        await admin.post("/api/v1/teams", json={"name": f"team {n}"})
    seen: list[int] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        body = (await admin.get(PATH, params=params)).json()
        seen += [row["id"] for row in body["rows"]]
        if (cursor := body["next_cursor"]) is None:
            break

    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


async def test_pages_are_ordered_by_time_even_for_late_ids(admin: httpx2.AsyncClient, database: Database) -> None:
    # As of transactions that took long: the greater the id, the older.
    await database.execute_as_owner(
        "INSERT INTO audit_logs (at, actor, action, target_kind, target_id)"
        " SELECT now() - n / 2 * interval '1 s', 'me', 'test', 'test', n::text FROM generate_series(1, 7) AS n"
    )
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        body = (await admin.get(PATH, params=params)).json()
        seen += [row["target_id"] for row in body["rows"]]
        cursor = body["next_cursor"]

    assert seen == ["1", "3", "2", "5", "4", "7", "6"]


async def test_an_export_has_every_row_and_no_formula(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO audit_logs (actor, action, target_kind, target_id, new) SELECT 'someone', 'test', 'test', "
        "n::text, '{\"a\": 1}' FROM generate_series(1, $1) AS n",
        ROWS_A_PART + 5,
    )
    for cell in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"):
        await pool.execute(
            "INSERT INTO audit_logs (actor, action, target_kind, target_id) VALUES ($1, 'test', 'test', '1')", cell
        )

    as_csv = await admin.get(f"{PATH}/export")
    as_json = await admin.get(f"{PATH}/export", params={"format": "json", "actor": "someone"})
    none = await admin.get(f"{PATH}/export", params={"format": "json", "actor": "nobody"})

    lines = list(csv.reader(io.StringIO(as_csv.text, newline="")))
    assert len(lines) == 1 + ROWS_A_PART + 5 + 7
    assert [line[2][0] for line in lines[1:8]] == ["'"] * 7
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    rows = json.loads(as_json.text)
    assert len({row["id"] for row in rows}) == ROWS_A_PART + 5
    assert rows[0]["new"] == {"a": 1}
    assert json.loads(none.text) == []
    assert "attachment" in as_csv.headers["content-disposition"]


async def test_a_user_sees_only_their_own_activity(pool: Pool) -> None:
    user = await make_user(pool)
    for actor in (user.email, "someone else"):
        await pool.execute(
            "INSERT INTO audit_logs (actor, action, target_kind, target_id) VALUES ($1, 'test', 'test', '1')", actor
        )

    assert [entry.row.actor for entry in (await list_activity(pool, owner_of(user))).rows] == [user.email]
    with pytest.raises(GatewayError) as caught:
        await list_audit(pool, owner_of(user), AuditFilter())
    assert caught.value.code == "forbidden"
    assert (await list_audit(pool, READER, AuditFilter())).rows


@pytest.mark.parametrize(
    "abuse",
    [
        "UPDATE audit_logs SET actor = 'someone else'",
        "DELETE FROM audit_logs",
        "DELETE FROM audit_logs WHERE false",
        "TRUNCATE audit_logs",
        "SELECT set_config('litemaas.prunes_audit', 'on', false); DELETE FROM audit_logs",
        "SELECT prune_audit_logs(now() - interval '90 days', 'me')",
        "SELECT prune_audit_logs('-infinity', 'me')",
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_logs_keep ON audit_logs",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_young_rows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "CREATE RULE quiet AS ON INSERT TO audit_logs DO INSTEAD NOTHING",
        "DROP TABLE audit_logs",
        "MERGE INTO audit_logs a USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
        "INSERT INTO audit_logs (id, actor, action, target_kind, target_id) OVERRIDING SYSTEM VALUE "
        "SELECT id, 'x', 'x', 'x', 'x' FROM audit_logs ON CONFLICT (id) DO UPDATE SET actor = 'x'",
        "WITH gone AS (DELETE FROM audit_logs RETURNING id) SELECT count(*) FROM gone",
        "SELECT * FROM audit_logs FOR UPDATE",
        "SET ROLE {owner}",
    ],
)
async def test_the_app_role_cannot_change_audit_rows_in_any_way(database: Database, abuse: str) -> None:
    app, owner = await asyncpg.connect(database.app_url), await asyncpg.connect(database.owner_url)
    await owner.execute(OLD_ROW)
    before = await owner.fetch("SELECT id, actor FROM audit_logs ORDER BY id")
    name = await owner.fetchval("SELECT current_user")

    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.PostgresSyntaxError)):
        await app.execute(abuse.replace("{owner}", name))

    assert await owner.fetch("SELECT id, actor FROM audit_logs ORDER BY id") == before
    await app.close()
    await owner.close()


async def test_the_owner_role_may_delete_old_audit_rows_only(database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(OLD_ROW)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="90 days at least"):
        await owner.execute("SELECT prune_audit_logs(now() - interval '89 days', 'me')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await owner.execute("DELETE FROM audit_logs")

    pruned = await owner.fetchval("SELECT prune_audit_logs(now() - interval '90 days', 'ana')")

    rows = await owner.fetch("SELECT target_id, action, actor FROM audit_logs ORDER BY id")
    await owner.close()
    assert pruned == 1
    assert [tuple(row) for row in rows] == [("2", "test", "me"), ("all", "audit.prune", "ana")]


async def test_the_client_address_from_a_trusted_proxy_is_audited(database: Database, pool: Pool) -> None:
    app = create_app(settings_for(database.app_url, trusted_proxies="127.0.0.1"))
    transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 5))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin,
    ):
        for number, reported in enumerate(("2001:db8::1%eth0", "fe80::1%'; --", "nonsense", "192.0.2.1:51234")):
            asked = {"email": f"u{number}@example.org"}
            answer = await admin.post("/api/v1/users", json=asked, headers={"x-forwarded-for": reported})
            assert answer.status_code == 201, answer.text

    noted = [row["ip"] for row in await pool.fetch("SELECT host(ip) AS ip FROM audit_logs ORDER BY id")]
    assert noted == ["2001:db8::1", "fe80::1", None, "192.0.2.1"]
