"""The hash chain over the audit log: any tampering by the database's owner is found (case S8)."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, make_user, owner_of

from admin_api.operations.actors import Actor, note
from admin_api.operations.audit import verify_audit
from admin_api.operations.audit_rows import Change, write_rows
from admin_api.storage.audit_chain import ENTRIES_A_PART
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

UNTRIGGERED = "ALTER TABLE audit_logs DISABLE TRIGGER USER; {}; ALTER TABLE audit_logs ENABLE TRIGGER USER"
CHAIN_ALL = "SELECT chain_audit_row(a, a.at) FROM (SELECT * FROM audit_logs ORDER BY id) AS a"
EVERY_VALUE = {
    "quote": 'a "b" \\ c',
    "control": "\x01\x1f\n\t\x7f",
    "text": "äöü 🎈 \u2028",
    "none": None,
    "number": 1.50,
}


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


async def add_rows(pool: Pool, count: int = 5) -> None:
    """Rows 1 to `count`, each in a transaction of its own."""
    for n in range(1, count + 1):
        async with pool.acquire() as connection, connection.transaction():
            await note(connection, ADMIN, "test.make", "test", n, new={"n": n})


async def faults_of(pool: Pool, *, anchor: str | None = None) -> set[tuple[str, int | None]]:
    """What a check finds: the fault, and the row's number."""
    return {(one.fault, one.audit_id) for one in (await verify_audit(pool, ADMIN, anchor=anchor)).findings}


async def test_s8_rows_with_any_values_are_intact(pool: Pool) -> None:
    user = await make_user(pool)
    actor = Actor(name='ann "x" <ann@example.org>', role="admin", user_id=user.id, ip="2001:db8::1")
    async with pool.acquire() as connection, connection.transaction():
        for old, new in ((None, None), ({}, EVERY_VALUE), (EVERY_VALUE, {"deep": [EVERY_VALUE]})):
            await note(connection, actor, "test.make", "test", 'ü"', old=old, new=new)
        rows = [Change(target_id=str(n), new={"n": n}) for n in range(50)]
        await write_rows(connection, ADMIN, "test.make", "test", rows)

    check = await verify_audit(pool, READER)

    assert check.findings == ()
    assert (check.rows, check.pruned, check.head.position) == (54, 0, 54)
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE actor_user_id = $1", user.id) == 3


async def test_s8_a_change_that_is_rolled_back_leaves_no_entry(pool: Pool) -> None:
    await add_rows(pool, 1)
    async with pool.acquire() as connection:
        begun = connection.transaction()
        await begun.start()
        await note(connection, ADMIN, "test.make", "test", 2)
        await begun.rollback()
    await add_rows(pool, 1)

    check = await verify_audit(pool, ADMIN)

    assert (check.rows, check.findings, check.head.position) == (2, (), 2)


async def test_s8_changes_at_the_same_time_are_chained_one_after_another(pool: Pool) -> None:
    async def change(n: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await note(connection, ADMIN, "test.make", "test", n)
            # As an operation that goes on after its audit row, in another order than it began.
            await connection.execute("SELECT pg_sleep($1)", (n % 7) / 100)
            await note(connection, ADMIN, "test.make", "test", -n)

    await asyncio.gather(*(change(n) for n in range(60)))

    check = await verify_audit(pool, ADMIN)
    assert (check.rows, check.findings) == (120, ())


HEAD_SEARCHES = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'audit_chain_head'"


async def test_s8_rows_of_one_transaction_do_not_search_for_the_head(pool: Pool) -> None:
    """Each row writes a version of it, which stays until the end of the transaction: a search reads all of them."""
    count = 1000
    async with pool.acquire() as connection:
        before = await connection.fetchval(HEAD_SEARCHES)
        for first in (0, count):
            async with connection.transaction():
                rows = [Change(target_id=str(n), new={"n": n}) for n in range(first, first + count // 2)]
                await write_rows(connection, ADMIN, "test.make", "test", rows)
                # A savepoint, and one that is given up.
                async with connection.transaction():
                    rows = [Change(target_id=str(n), new={"n": n}) for n in range(first + count // 2, first + count)]
                    await write_rows(connection, ADMIN, "test.make", "test", rows)
                given_up = connection.transaction()
                await given_up.start()
                await note(connection, ADMIN, "test.make", "test", -1)
                await given_up.rollback()
            await connection.execute("SELECT pg_stat_force_next_flush()")
        searches = await connection.fetchval(HEAD_SEARCHES) - before

    check = await verify_audit(pool, ADMIN)
    assert (check.rows, check.findings, check.head.position) == (2 * count, (), 2 * count)
    # Of each transaction those of its first row.
    assert searches <= 4


async def test_s8_a_head_that_the_app_points_to_is_no_other(pool: Pool) -> None:
    await add_rows(pool, 3)
    async with pool.acquire() as connection, connection.transaction():
        for n, pointer in enumerate(("(0,1)", "(0,2)", "(7,7)", "")):
            await note(connection, ADMIN, "test.make", "test", n)
            await connection.execute("SELECT set_config('litemaas.chain_head', $1, true)", pointer)
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    check = await verify_audit(pool, ADMIN)
    assert (check.rows, check.findings) == (7, ())


async def test_s8_a_transaction_waits_for_others_only_when_it_commits(pool: Pool) -> None:
    async with pool.acquire() as one, pool.acquire() as other:
        begun = one.transaction()
        await begun.start()
        await note(one, ADMIN, "test.make", "test", 1)

        await asyncio.wait_for(note(other, ADMIN, "test.make", "test", 2), 30)

        await begun.commit()
    assert (await verify_audit(pool, ADMIN)).findings == ()


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_s8_no_isolation_level_forks_the_chain(pool: Pool, isolation: str) -> None:
    async with pool.acquire() as connection:
        begun = connection.transaction(isolation=isolation)
        await begun.start()
        await note(connection, ADMIN, "test.make", "test", 1)
        await add_rows(pool, 1)
        with pytest.raises(asyncpg.SerializationError):
            await begun.commit()

    check = await verify_audit(pool, ADMIN)
    assert (check.rows, check.findings) == (1, ())


# Every kind of tampering, as the owner would do it; row and position 3 is in the middle of five.
TAMPERINGS: dict[str, tuple[str, set[tuple[str, int | None]]]] = {
    "change a value": ("UPDATE audit_logs SET new = '{\"n\": 30}' WHERE id = 3", {("changed", 3)}),
    "change who": ("UPDATE audit_logs SET actor = 'someone else' WHERE id = 3", {("changed", 3)}),
    "change whose id": ("UPDATE audit_logs SET actor_user_id = 7 WHERE id = 3", {("changed", 3)}),
    "change what": ("UPDATE audit_logs SET action = 'test.take' WHERE id = 3", {("changed", 3)}),
    "change whose account": ("UPDATE audit_logs SET account_id = 7 WHERE id = 3", {("changed", 3)}),
    "change what it is about": ("UPDATE audit_logs SET about = '{user:1}' WHERE id = 3", {("changed", 3)}),
    "change the cause": ("UPDATE audit_logs SET cause = 'because' WHERE id = 3", {("changed", 3)}),
    "take the cause away": (
        "UPDATE audit_logs SET cause = NULL, about = NULL, account_id = NULL WHERE id = 3",
        {("changed", 3)},
    ),
    "change the target": ("UPDATE audit_logs SET target_id = '1' WHERE id = 3", {("changed", 3)}),
    "change the time": ("UPDATE audit_logs SET at = at - interval '1 s' WHERE id = 3", {("changed", 3)}),
    "change the address": ("UPDATE audit_logs SET ip = '192.0.2.1' WHERE id = 3", {("changed", 3)}),
    "change the request": ("UPDATE audit_logs SET request_id = gen_random_uuid() WHERE id = 3", {("changed", 3)}),
    "delete a row": ("DELETE FROM audit_logs WHERE id = 3", {("missing", 3)}),
    "delete the last row": ("DELETE FROM audit_logs WHERE id = 5", {("missing", 5)}),
    "delete a row and its entry": (
        "DELETE FROM audit_logs WHERE id = 3; DELETE FROM audit_chain WHERE audit_id = 3",
        {("broken", 4)},
    ),
    "delete all there is of a row, and close the gap": (
        "DELETE FROM audit_logs WHERE id = 3; DELETE FROM audit_chain WHERE audit_id = 3;"
        " UPDATE audit_chain SET position = 3 WHERE position = 4;"
        " UPDATE audit_chain SET position = 4 WHERE position = 5",
        {("broken", 4), ("broken", 5), ("cut_off", None)},
    ),
    "cut the last rows off": (
        "DELETE FROM audit_logs WHERE id > 3; DELETE FROM audit_chain WHERE audit_id > 3",
        {("cut_off", None)},
    ),
    "delete everything": ("DELETE FROM audit_logs; DELETE FROM audit_chain", {("cut_off", None)}),
    "insert a row": (
        "INSERT INTO audit_logs (actor, action, target_kind, target_id) VALUES ('x', 'x.x', 'x', '1')",
        {("unchained", 6)},
    ),
    "insert a row between, with an entry": (
        "INSERT INTO audit_logs (id, at, actor, action, target_kind, target_id) OVERRIDING SYSTEM VALUE"
        " SELECT 99, at, 'x', 'x.x', 'x', '1' FROM audit_logs WHERE id = 3;"
        " UPDATE audit_chain SET position = -position WHERE position > 3;"
        " UPDATE audit_chain SET position = 1 - position WHERE position < 0;"
        " INSERT INTO audit_chain SELECT 4, 99, at, chained_at, facts, names, salt, hash FROM audit_chain"
        " WHERE position = 3",
        {("changed", 99), ("broken", 99), ("broken", 4), ("broken", 5), ("cut_off", None)},
    ),
    "swap two rows": (
        "UPDATE audit_logs SET target_id = (7 - target_id::int)::text,"
        " new = jsonb_build_object('n', 7 - target_id::int) WHERE id IN (3, 4)",
        {("changed", 3), ("changed", 4)},
    ),
    "swap two entries": (
        "UPDATE audit_chain SET position = -1 WHERE position = 3;"
        " UPDATE audit_chain SET position = 3 WHERE position = 4;"
        " UPDATE audit_chain SET position = 4 WHERE position = -1",
        {("broken", 4), ("broken", 3), ("broken", 5)},
    ),
    "change a row and its digest": (
        "UPDATE audit_logs SET action = 'x.x' WHERE id = 3; UPDATE audit_chain SET facts = sha256(convert_to("
        "jsonb_build_array(id, microseconds(a.at), action, target_kind, target_id, actor_user_id, request_id,"
        " account_id, about)::text, 'UTF8')) FROM audit_logs a WHERE a.id = audit_id AND audit_id = 3",
        {("broken", 3)},
    ),
    "take the salt away to change names": (
        "UPDATE audit_logs SET actor = 'x' WHERE id = 3; UPDATE audit_chain SET salt = NULL WHERE audit_id = 3",
        {("names_erased", 3)},
    ),
    "change only the entry's time": (
        "UPDATE audit_chain SET at = at - interval '1 s' WHERE position = 3",
        {("broken", 3)},
    ),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
async def test_s8_tampering_by_the_owner_is_found(pool: Pool, owner: asyncpg.Connection, kind: str) -> None:
    await add_rows(pool)
    assert await faults_of(pool) == set()
    statements, expected = TAMPERINGS[kind]

    await owner.execute(UNTRIGGERED.format(statements))

    assert await faults_of(pool) == expected


async def test_s8_a_row_that_the_owner_dates_back_is_found(pool: Pool, owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO audit_logs (at, actor, action, target_kind, target_id)"
        " VALUES (now() - interval '2 days', 'x', 'x.x', 'x', '1'), (now() + interval '2 h', 'x', 'x.x', 'x', '1')"
    )

    assert await faults_of(pool) == {("back_dated", 1), ("back_dated", 2)}


async def test_s8_a_chain_that_was_computed_again_differs_from_its_anchor(
    pool: Pool, owner: asyncpg.Connection
) -> None:
    await add_rows(pool)
    anchor = str((await verify_audit(pool, ADMIN)).head)
    await add_rows(pool, 1)
    assert await faults_of(pool, anchor=anchor) == set()

    # All that an owner can do: a chain without fault, of other rows.
    await owner.execute(UNTRIGGERED.format("UPDATE audit_logs SET new = NULL WHERE id = 3; DELETE FROM audit_chain"))
    await owner.execute("UPDATE audit_chain_head SET position = 0, hash = ''")
    await owner.execute(CHAIN_ALL)

    assert await faults_of(pool) == set()
    assert await faults_of(pool, anchor=anchor) == {("anchor", None)}
    assert await faults_of(pool, anchor=f"7:{'0' * 64}") == {("anchor", None)}
    for wrong in ("7", f"x:{'0' * 64}", "7:00", "0:", "", f"7:{'x' * 64}"):
        with pytest.raises(GatewayError, match="POSITION:HASH"):
            await verify_audit(pool, ADMIN, anchor=wrong)


async def test_s8_pruned_rows_keep_their_entries(pool: Pool, owner: asyncpg.Connection) -> None:
    # As old rows of a version before, which the migration chained with the times they had.
    await owner.execute(
        UNTRIGGERED.format(
            "INSERT INTO audit_logs (at, actor, action, target_kind, target_id)"
            " SELECT now() - interval '91 days' - n * interval '1 day', 'ann', 'x.x', 'x', '1'"
            " FROM generate_series(1, 4) AS n"
        )
    )
    await owner.execute(CHAIN_ALL)
    await owner.execute("SELECT prune_audit_logs(now() - interval '93 days 1 hour', 'me')")

    check = await verify_audit(pool, ADMIN)
    assert (check.rows, check.pruned, check.findings) == (3, 2, ())
    assert await owner.fetchval("SELECT count(*) FROM audit_chain WHERE salt IS NULL") == 2

    await owner.execute(UNTRIGGERED.format("DELETE FROM audit_logs WHERE id = 1"))
    assert await faults_of(pool) == {("missing", 1)}


async def test_s8_a_chain_is_read_in_parts(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO audit_logs (actor, action, target_kind, target_id)"
            " SELECT 'x', 'x.x', 'x', n::text FROM generate_series(1, $1) AS n",
            ENTRIES_A_PART + 1,
        )

    check = await verify_audit(pool, ADMIN)

    assert (check.rows, check.findings) == (ENTRIES_A_PART + 1, ())


async def test_s8_only_those_who_read_the_audit_log_verify_it(pool: Pool) -> None:
    with pytest.raises(GatewayError) as caught:
        await verify_audit(pool, owner_of(await make_user(pool)))

    assert caught.value.code == "forbidden"


async def test_s8_the_command_shows_faults_and_exits_with_1(
    database: Database, pool: Pool, owner: asyncpg.Connection
) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    await add_rows(pool, 2)
    view = (await command_line.run("audit", "verify", "--json")).json()
    assert (view["intact"], view["rows"], view["findings"]) == (True, 2, [])
    assert (await command_line.run("audit", "verify", "--anchor", view["head"])).code == 0

    await owner.execute(UNTRIGGERED.format("DELETE FROM audit_logs WHERE id = 2"))

    found = await command_line.run("audit", "verify")
    assert (found.code, found.err) == (1, "")
    assert found.out.splitlines()[1:] == ["missing: position 2, row 2"]
