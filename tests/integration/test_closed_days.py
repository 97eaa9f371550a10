"""Sealed days of the ledger: what the owner changes in them is found, and what comes late is a correction (case S8)."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, timedelta

import asyncpg
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN
from msgspec.structs import replace
from usage_rows import TODAY, make_usage_row, new_id

from admin_api.operations.maintenance.ledger import rebuild_rollups, verify_closed_days, verify_ledger
from gateway import metrics
from gateway.domain.usage_rows import LEDGER_COLUMNS, UsageRow
from gateway.storage.ledger.batches import write_batch
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.ledger.journal_lines import encode_row
from gateway.storage.ledger.partitions import drop_old_months
from gateway.storage.ledger.rows import WRITE_NEW_ROWS, find_rows
from gateway.storage.ledger.sums import WindowSum, sum_windows
from gateway.storage.postgres import Pool, new_pool
from gateway.tasks.maintain_partitions import PartitionKeeper

# Four days that are due, and the first that is not.
FIRST = TODAY - timedelta(days=12)
LAST = TODAY - timedelta(days=9)
OPEN = TODAY - timedelta(days=8)
DAYS = [(FIRST + timedelta(days=n)).date() for n in range(4)]
MIDDLE = DAYS[1]
REAPED = {
    "estimated": True,
    "estimated_why": "reaped",
    "ending": "upstream_error",
    "status": 499,
    "total_ms": 0,
    "first_byte_ms": None,
}


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def rows(pool: Pool) -> list[UsageRow]:
    """Three rows on each of five days, four of which are sealed."""
    made = [
        make_usage_row(FIRST + timedelta(days=day, hours=n, milliseconds=n), model_served=["a,b", None, ""][n])
        for day in range(5)
        for n in range(3)
    ]
    await write(pool, made)
    assert await close_due_days(pool) == DAYS
    return made


async def write(pool: Pool, rows: Sequence[UsageRow]) -> None:
    """Writes the rows as the ledger writer does; none is refused."""
    _, refused = await write_batch(pool, [encode_row(row) for row in rows])
    assert refused == []


async def faults_of(pool: Pool, *, days: int = 40, anchor: str | None = None) -> set[tuple[str, date | None]]:
    check = await verify_closed_days(pool, ADMIN, days=days, anchor=anchor)
    return {(finding.fault, finding.day) for finding in check.findings}


async def sums_of(pool: Pool) -> list[tuple[object, ...]]:
    """Today's sums, by ending and class of error."""
    found = await pool.fetch(
        "SELECT ending, error_class, calls, estimated_calls, completion_tokens, cost_nano_usd, counted_nano_usd"
        " FROM usage_days WHERE day = $1 AND calls <> 0 ORDER BY ending, error_class",
        TODAY.date(),
    )
    return [tuple(record) for record in found]


# --- closing and sealing ---


async def test_s8_a_day_is_closed_eight_days_after_its_end(pool: Pool, rows: list[UsageRow]) -> None:
    check = await verify_closed_days(pool, ADMIN, days=40)

    assert await close_due_days(pool) == []
    assert (check.closed, check.days, check.dropped, check.findings) == (4, 4, 0, ())
    assert check.head is not None
    assert check.head.day == LAST.date()
    found = await pool.fetch("SELECT rows, corrections, counted_nano_usd FROM usage_seals ORDER BY day")
    assert [tuple(record) for record in found] == [(3, 0, 69_000)] * 4
    audited = await pool.fetch("SELECT target_id, actor FROM audit_logs WHERE action = 'ledger.seal_day' ORDER BY id")
    assert [tuple(record) for record in audited] == [(str(day), "gateway:seals") for day in DAYS]


async def test_s8_an_empty_ledger_has_nothing_to_close(pool: Pool) -> None:
    assert await close_due_days(pool) == []
    check = await verify_closed_days(pool, ADMIN, days=40)
    assert (check.closed, check.head, check.findings) == (0, None, ())


async def test_s8_days_without_rows_are_closed_too(pool: Pool) -> None:
    await write(pool, [make_usage_row(FIRST), make_usage_row(LAST)])

    assert await close_due_days(pool) == DAYS
    assert await faults_of(pool) == set()


@pytest.mark.parametrize("shift", [timedelta(0), timedelta(days=1) - timedelta(milliseconds=1), -timedelta(days=3)])
async def test_s8_no_row_is_added_to_a_closed_day(pool: Pool, rows: list[UsageRow], shift: timedelta) -> None:
    late = make_usage_row((LAST if shift >= timedelta(0) else FIRST) + shift)

    with pytest.raises(asyncpg.exceptions.RestrictViolationError):
        await pool.fetchrow(WRITE_NEW_ROWS, b"[%b]" % encode_row(late), None, False)

    await pool.fetchrow(WRITE_NEW_ROWS, b"[%b]" % encode_row(make_usage_row(OPEN)), None, False)
    assert await faults_of(pool) == set()


async def test_s8_a_temporary_table_does_not_open_a_closed_day(database: Database, rows: list[UsageRow]) -> None:
    app = await asyncpg.connect(database.app_url)
    await app.execute("CREATE TEMP TABLE usage_seals (LIKE public.usage_seals)")

    with pytest.raises(asyncpg.exceptions.RestrictViolationError):
        await app.fetchrow(WRITE_NEW_ROWS, b"[%b]" % encode_row(make_usage_row(LAST)), None, False)
    await app.close()


async def test_s8_a_reaped_estimate_of_a_closed_day_stays(pool: Pool) -> None:
    estimate = make_usage_row(LAST, **REAPED)
    await write(pool, [estimate])
    await close_due_days(pool)
    real = make_usage_row(LAST, request_id=estimate.request_id)

    assert (
        await pool.fetch("SELECT request_id FROM replace_reaped_usage($1::jsonb)", f"[{encode_row(real).decode()}]")
        == []
    )

    assert await find_rows(pool, [estimate.request_id]) == [estimate]
    assert await faults_of(pool) == set()


async def test_s8_a_day_is_closed_when_those_who_add_to_it_are_done(pool: Pool) -> None:
    await write(pool, [make_usage_row(LAST)])
    async with pool.acquire() as connection:
        adding = connection.transaction()
        await adding.start()
        await connection.fetchrow(WRITE_NEW_ROWS, b"[%b]" % encode_row(make_usage_row(LAST)), None, False)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await close_due_days(pool)
        await adding.commit()

    assert await close_due_days(pool) == [LAST.date()]
    assert await pool.fetchval("SELECT rows FROM usage_seals") == 2
    assert await faults_of(pool) == set()


async def test_s8_each_day_is_closed_once_by_many_workers(pool: Pool) -> None:
    await write(pool, [make_usage_row(FIRST)])

    done = await asyncio.gather(*(close_due_days(pool) for _ in range(6)))
    rest = await close_due_days(pool)

    assert sorted(day for days in (*done, rest) for day in days) == DAYS
    assert await faults_of(pool) == set()


async def test_s8_a_day_that_was_closed_without_a_hash_gets_it_next(pool: Pool) -> None:
    await write(pool, [make_usage_row(FIRST)])
    assert await pool.fetchval("SELECT close_usage_day()") == DAYS[0]

    assert await close_due_days(pool) == DAYS
    assert await faults_of(pool) == set()


async def test_s8_gateways_close_days_and_report_how_far(pool: Pool) -> None:
    await write(pool, [make_usage_row(LAST)])

    await PartitionKeeper(pool, retention_months=0).look(TODAY)

    assert metrics.LEDGER_CLOSED_UNTIL._value.get() == OPEN.timestamp()


async def test_s8_hashes_hold_in_any_session_and_after_a_new_column(
    database: Database, pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow]
) -> None:
    await owner.execute("ALTER TABLE usage_logs ADD COLUMN later text DEFAULT 'x'")
    await owner.execute(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Kolkata'")
    await owner.execute(f"ALTER DATABASE {database.name} SET datestyle = 'German'")
    async with new_pool(database.app_url, size=2) as other:
        assert await faults_of(other) == set()
        await write(other, [make_usage_row(OPEN)])
    await owner.execute("ALTER TABLE usage_seals DISABLE TRIGGER USER")
    assert await faults_of(pool) == set()


# --- tampering ---

IN_MIDDLE = f"request_id >= uuid7_floor('{MIDDLE}Z') AND request_id < uuid7_floor('{MIDDLE + timedelta(days=1)}Z')"
LEAVES_NO_TRACE = "ALTER TABLE usage_logs DISABLE TRIGGER USER; {}"
A_ROW = f"(SELECT request_id FROM usage_logs WHERE {IN_MIDDLE} LIMIT 1)"


def add_row(moment: datetime) -> str:
    """SQL that adds a row like one of MIDDLE's."""
    place = json.dumps({"request_id": str(new_id(moment)), "started_at": moment.isoformat()})
    return (
        f"INSERT INTO usage_logs SELECT (r.u).* FROM (SELECT jsonb_populate_record(u, '{place}') AS u"
        f" FROM usage_logs AS u WHERE request_id = {A_ROW}) AS r"
    )


@pytest.mark.parametrize("column", [name for name in LEDGER_COLUMNS if name not in ("request_id", "started_at")])
async def test_s8_a_change_of_any_column_is_found(
    pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow], column: str
) -> None:
    value = {"boolean": f"NOT {column}", "text": "'x'", "smallint": "47"}.get(LEDGER_COLUMNS[column].sql_type, "4711")
    value = {"ending": "'timeout'", "estimated_why": "'cut_off'"}.get(column, value)
    await owner.execute("ALTER TABLE usage_logs DROP CONSTRAINT usage_logs_check")

    await owner.execute(f"UPDATE usage_logs SET {column} = {value} WHERE request_id = $1", rows[4].request_id)

    assert ("changed", MIDDLE) in await faults_of(pool)


# Each as the owner would do it, on the second of four sealed days.
TAMPERINGS: dict[str, tuple[str, set[tuple[str, date | None]]]] = {
    "change a cost": (f"UPDATE usage_logs SET cost_nano_usd = 1 WHERE {IN_MIDDLE}", {("changed", MIDDLE)}),
    "change a time": (
        f"UPDATE usage_logs SET started_at = started_at + interval '0.0001 s' WHERE {IN_MIDDLE}",
        {("changed", MIDDLE)},
    ),
    "swap what two rows cost": (
        "UPDATE usage_logs SET cost_nano_usd = cost_nano_usd"
        " + CASE extract(hour FROM started_at) WHEN 0 THEN 1 ELSE -1 END"
        f" WHERE extract(hour FROM started_at) < 2 AND {IN_MIDDLE}",
        {("changed", MIDDLE)},
    ),
    "delete a row": (
        f"DELETE FROM usage_logs WHERE request_id = {A_ROW}",
        {("changed", MIDDLE)},
    ),
    "delete all rows of the day": (f"DELETE FROM usage_logs WHERE {IN_MIDDLE}", {("changed", MIDDLE)}),
    "add a row": (add_row(FIRST + timedelta(days=1, hours=5)), {("changed", MIDDLE)}),
    "move a row to another day": (
        f"DELETE FROM usage_logs WHERE request_id = {A_ROW}; {add_row(FIRST + timedelta(days=2, hours=5))}",
        {("changed", MIDDLE), ("changed", DAYS[2])},
    ),
    "add a row before all seals": (
        add_row(FIRST - timedelta(days=1)),
        {("outside", DAYS[0])},
    ),
    "change a rollup": (
        f"UPDATE usage_all_days SET cost_nano_usd = 1 WHERE day = '{MIDDLE}'",
        {("rollup", MIDDLE)},
    ),
    "delete a rollup": (f"DELETE FROM usage_all_days WHERE day = '{MIDDLE}'", {("rollup", MIDDLE)}),
    "change the sums of a seal": (
        f"UPDATE usage_seals SET cost_nano_usd = 1 WHERE day = '{MIDDLE}'",
        {("broken", MIDDLE), ("rollup", MIDDLE)},
    ),
    "seal fewer columns": (
        f"UPDATE usage_seals SET columns = '{{request_id}}' WHERE day = '{MIDDLE}'",
        {("broken", MIDDLE), ("changed", MIDDLE)},
    ),
    "a column that is a statement": (
        f"UPDATE usage_seals SET columns = ARRAY['request_id\")::text; DROP TABLE limits --'] WHERE day = '{MIDDLE}'",
        {("broken", MIDDLE), ("changed", MIDDLE)},
    ),
    "change the time of a seal": (
        f"UPDATE usage_seals SET sealed_at = sealed_at - interval '1 s' WHERE day = '{MIDDLE}'",
        {("broken", MIDDLE)},
    ),
    "delete a seal": (f"DELETE FROM usage_seals WHERE day = '{MIDDLE}'", {("broken", DAYS[2])}),
    "delete the first seal": (
        f"DELETE FROM usage_seals WHERE day = '{DAYS[0]}'",
        {("broken", MIDDLE), ("outside", MIDDLE)},
    ),
    "delete the last seals": (f"DELETE FROM usage_seals WHERE day > '{MIDDLE}'", {("cut_off", MIDDLE)}),
    "delete all seals": ("DELETE FROM usage_seals", {("cut_off", None)}),
    "swap two seals": (
        f"UPDATE usage_seals SET day = '1999-01-01' WHERE day = '{MIDDLE}'; UPDATE usage_seals SET day = '{MIDDLE}'"
        f" WHERE day = '{DAYS[2]}'; UPDATE usage_seals SET day = '{DAYS[2]}' WHERE day = '1999-01-01'",
        {(fault, day) for fault in ("broken", "changed", "audit") for day in DAYS[1:3]} | {("broken", DAYS[3])},
    ),
    "seal again what was changed": (
        f"UPDATE usage_logs SET cost_nano_usd = 1 WHERE {IN_MIDDLE}; DELETE FROM usage_seals;"
        " UPDATE usage_seal_head SET day = NULL, hash = '';"
        " DO $$ DECLARE d date; BEGIN LOOP d := close_usage_day(); EXIT WHEN d IS NULL;"
        " PERFORM seal_usage_day(d, 'me'); END LOOP; END $$",
        {("audit", day) for day in DAYS} | {("rollup", MIDDLE)},
    ),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
async def test_s8_tampering_by_the_owner_is_found(
    pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow], kind: str
) -> None:
    assert await faults_of(pool) == set()
    statements, expected = TAMPERINGS[kind]

    await owner.execute(LEAVES_NO_TRACE.format(statements))

    assert await faults_of(pool) == expected


async def test_s8_rows_are_checked_of_the_days_named_only(
    pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow]
) -> None:
    await owner.execute(f"UPDATE usage_logs SET cost_nano_usd = 1 WHERE {IN_MIDDLE}")

    assert await faults_of(pool, days=12) == {("changed", MIDDLE)}
    assert await faults_of(pool, days=11) == set()


async def test_s8_hashes_that_were_made_again_differ_from_their_anchor(
    pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow]
) -> None:
    anchor = str((await verify_closed_days(pool, ADMIN, days=40)).head)
    assert await faults_of(pool, anchor=anchor) == set()
    statements, _ = TAMPERINGS["seal again what was changed"]

    await owner.execute(LEAVES_NO_TRACE.format(statements))

    assert ("anchor", DAYS[3]) in await faults_of(pool, anchor=anchor)


async def test_s8_a_dropped_month_keeps_its_hashes(pool: Pool, owner: asyncpg.Connection) -> None:
    old = TODAY - timedelta(days=130)
    await pool.execute("SELECT ensure_usage_partition($1)", old)
    await write(pool, [make_usage_row(old), make_usage_row(old, cost_nano_usd=None), make_usage_row(TODAY)])
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not sealed"):
        await drop_old_months(pool, kept=2, now=TODAY, actor="test")
    await close_due_days(pool)

    dropped = await drop_old_months(pool, kept=2, now=TODAY, actor="test")

    check = await verify_closed_days(pool, ADMIN, days=400)
    assert [name[-6:] for name in dropped] == [f"{old:%Y%m}"]
    assert (check.findings, check.dropped > 0, check.closed > check.days) == ((), True, True)
    await owner.execute("UPDATE usage_all_days SET cost_nano_usd = 1 WHERE day = $1", old.date())
    assert await faults_of(pool) == {("rollup", old.date())}


async def test_s8_the_app_role_drops_no_month_that_is_not_over(pool: Pool) -> None:
    await write(pool, [make_usage_row(TODAY)])
    while (name := await pool.fetchval("SELECT detach_usage_partition('infinity')")) is not None:
        assert name < f"usage_logs_{TODAY:%Y%m}"

    assert await pool.fetchval("SELECT count(*) FROM usage_logs") == 1


# --- what comes late ---


async def test_s8_a_row_of_a_closed_day_counts_on_the_day_it_comes(pool: Pool, rows: list[UsageRow]) -> None:
    late, on_time = make_usage_row(LAST, cost_nano_usd=500, counted_nano_usd=500), make_usage_row(TODAY)

    for _ in range(2):
        written, refused = await write_batch(pool, [encode_row(late), encode_row(on_time)])
        assert refused == []

    assert (written.inserted, set(written.kept)) == (0, {late.request_id, on_time.request_id})
    found = await pool.fetch("SELECT request_id, reason, sign, made_by, started_at FROM ledger_corrections")
    assert [tuple(record) for record in found] == [(late.request_id, "late", 1, "gateway:ledger", late.started_at)]
    assert await sums_of(pool) == [("completed", "none", 2, 0, 12, 23_500, 23_500)]
    start, end = (int(moment.timestamp() * 1000) for moment in (TODAY, TODAY + timedelta(days=1)))
    assert await sum_windows(pool, [WindowSum(1, "cost", "k1", start, end)]) == [23_500]
    assert await faults_of(pool) == set()
    assert (await verify_ledger(pool, ADMIN, days=31)).differences == ()
    await rebuild_rollups(pool, ADMIN, first=TODAY.date(), last=TODAY.date())
    assert await sums_of(pool) == [("completed", "none", 2, 0, 12, 23_500, 23_500)]


@pytest.mark.parametrize("estimate_is_late", [False, True])
async def test_s8_a_late_row_replaces_its_estimate_by_a_correction(pool: Pool, estimate_is_late: bool) -> None:
    estimate = make_usage_row(LAST, cost_nano_usd=900, counted_nano_usd=900, **REAPED)
    await write(pool, [make_usage_row(LAST)] if estimate_is_late else [estimate])
    await close_due_days(pool)
    await write(pool, [estimate])
    real = make_usage_row(LAST, request_id=estimate.request_id, cost_nano_usd=400, counted_nano_usd=400)

    for _ in range(2):
        await write(pool, [real, estimate])

    reasons = await pool.fetch("SELECT reason, sign FROM ledger_corrections ORDER BY number")
    expected = [("replaced", -1), ("replaced", 1)]
    assert [tuple(record) for record in reasons] == [("late", 1)] * estimate_is_late + expected
    gone = [] if estimate_is_late else [("upstream_error", "gateway_lost", -1, -1, -6, -900, -900)]
    assert await sums_of(pool) == [("completed", "none", 1, 0, 6, 400, 400), *gone]
    assert await faults_of(pool) == set()
    assert (await verify_ledger(pool, ADMIN, days=31)).differences == ()


async def test_s8_a_late_row_replaces_no_estimate_of_another_caller(pool: Pool) -> None:
    estimate = make_usage_row(LAST, **REAPED)
    await write(pool, [estimate])
    await close_due_days(pool)

    _, refused = await write_batch(
        pool, [encode_row(replace(estimate, account_id=2, estimated_why=None, estimated=False))]
    )

    assert [cause for _, cause in refused] == ["a row cannot replace the estimate of another's call"]
    assert await pool.fetchval("SELECT count(*) FROM ledger_corrections") == 0


async def test_s8_one_late_row_that_many_bring_counts_once(pool: Pool, rows: list[UsageRow]) -> None:
    late = make_usage_row(LAST)

    await asyncio.gather(*(write(pool, [late]) for _ in range(8)))

    assert await pool.fetchval("SELECT count(*) FROM ledger_corrections") == 1
    assert [sums[2] for sums in await sums_of(pool)] == [1]


async def test_s8_corrections_are_hashed_with_the_day_they_were_made(
    pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow]
) -> None:
    await write(pool, [make_usage_row(LAST), make_usage_row(LAST)])
    # As if they had been made eight days ago, before the day was sealed.
    await owner.execute(
        "ALTER TABLE ledger_corrections DISABLE TRIGGER USER;"
        f" UPDATE ledger_corrections SET made_at = '{LAST:%F}T12:00Z',"
        f" id = (left(uuid7_floor('{LAST:%F}T12:00Z')::text, 14) || right(id::text, 22))::uuid;"
        f" DELETE FROM usage_seals WHERE day = '{LAST:%F}';"
        f" UPDATE usage_seal_head SET (day, hash) = (SELECT day, hash FROM usage_seals ORDER BY day DESC LIMIT 1);"
        " SELECT rebuild_usage_rollups('-infinity'); ALTER TABLE audit_logs DISABLE TRIGGER USER;"
        f" DELETE FROM audit_logs WHERE target_id = '{LAST:%F}'"
    )
    assert await close_due_days(pool) == [LAST.date()]
    assert await pool.fetchval("SELECT corrections FROM usage_seals ORDER BY day DESC LIMIT 1") == 2
    assert await faults_of(pool) == set()

    await owner.execute("UPDATE ledger_corrections SET made_by = 'x' WHERE number = 1")
    assert await faults_of(pool) == {("changed", LAST.date())}
    await owner.execute("DELETE FROM ledger_corrections WHERE number = 1")
    assert await faults_of(pool) == {("changed", LAST.date())}


# --- the command ---


async def test_s8_the_command_shows_faults_and_exits_with_1(
    database: Database, pool: Pool, owner: asyncpg.Connection, rows: list[UsageRow]
) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    view = (await command_line.run("ledger", "verify", "--sealed", "--json")).json()
    assert (view["intact"], view["closed"], view["days"], view["findings"]) == (True, 4, 4, [])
    assert (await command_line.run("ledger", "verify", "--sealed", "--anchor", view["head"])).code == 0
    assert "needs --sealed" in (await command_line.run("ledger", "verify", "--anchor", view["head"])).err
    assert "DAY:HASH" in (await command_line.run("ledger", "verify", "--sealed", "--anchor", "x")).err

    await owner.execute(f"UPDATE usage_logs SET cost_nano_usd = 1 WHERE {IN_MIDDLE}")

    found = await command_line.run("ledger", "verify", "--sealed")
    assert (found.code, found.err) == (1, "")
    assert found.out.splitlines()[1:] == [f"changed: {MIDDLE}"]
