"""Migration 0025 fills its new rollups from the existing ones, even for months without rows."""

import shutil
from datetime import timedelta
from pathlib import Path

import asyncpg
from conftest import Database
from factories import ADMIN
from test_rollups import added_up, stored
from usage_rows import EARLIEST, TODAY, make_usage_row

from admin_api.operations.maintenance.ledger import verify_ledger
from admin_api.storage.migrate import migrate, migrations_folder
from deploy.embedded.postgres import APP
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.rollups import ROLLUPS
from gateway.storage.postgres import new_pool

COLUMNS_OF_USAGE_LOGS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = 'usage_logs'::regclass AND attnum > 0 AND NOT attisdropped"
)
MADE = (
    "usage_account_six_hours",
    "usage_account_ten_days",
    "usage_failed_days",
    "usage_failed_months",
    "usage_all_quarter_hours",
    "usage_all_days",
)


def some_rows() -> list[UsageRow]:
    """Completed and failed calls of several users and models, over two months."""
    ways = [
        {"ending": "completed"},
        {"ending": "timeout", "status": 504},
        {"ending": "refused_upstream", "status": 429, "first_byte_ms": None},
    ]
    hours = int((TODAY - EARLIEST) / timedelta(hours=1)) + 20
    return [
        make_usage_row(
            EARLIEST + timedelta(hours=hour, minutes=7 * (hour % 8)),
            account_id=1 + hour % 3, user_id=None if hour % 5 == 0 else 1 + hour % 2, model_id=1 + hour % 4,
            total_ms=10 * hour, cost_nano_usd=None if hour % 9 == 0 else 1000 * hour, **ways[hour % 7 % 3],
        )
        for hour in range(0, hours, 5)
    ]  # fmt: skip


async def migrated_before(database: Database, folder: Path) -> asyncpg.Connection:
    """A connection of the owner, when it is the next to be applied."""
    before = folder / "before"
    shutil.copytree(migrations_folder(), before)
    for path in before.glob("*.sql"):
        if path.name[:4] >= "0025":
            path.unlink()
    owner = await asyncpg.connect(database.owner_url)
    await migrate(owner, app_role=APP, folder=before)
    return owner


async def test_sums_can_be_read_while_new_rollups_are_filled(empty_database: Database, tmp_path: Path) -> None:
    """Counters are seeded from them: otherwise calls would wait."""
    owner = await migrated_before(empty_database, tmp_path)
    (filling,) = migrations_folder().glob("0025_*.sql")
    async with owner.transaction(), new_pool(empty_database.app_url, size=1) as pool:
        await owner.execute(filling.read_text())
        async with pool.acquire() as reader:
            await reader.execute("SET lock_timeout = '2s'")
            for table in (rollup.table for rollup in ROLLUPS if rollup.table not in MADE):
                assert await reader.fetch(f"TABLE {table}") == []
    await owner.close()


async def test_new_rollups_equal_the_old_ones(empty_database: Database, tmp_path: Path) -> None:
    rows = some_rows()
    owner = await migrated_before(empty_database, tmp_path)
    # Columns that came later are not there yet.
    columns = {name for (name,) in await owner.fetch(COLUMNS_OF_USAGE_LOGS)}
    names = [name for name in UsageRow.__struct_fields__ if name in columns]
    records = [tuple(getattr(row, name) for name in names) for row in rows]
    await owner.copy_records_to_table("usage_logs", records=records, columns=names)
    await owner.execute("SELECT rebuild_usage_rollups('-infinity')")
    # Its rows were dropped, its sums stay.
    dropped = f"usage_logs_{EARLIEST:%Y%m}"
    await owner.execute(f"ALTER TABLE usage_logs DETACH PARTITION {dropped}; DROP TABLE {dropped}")

    await migrate(owner, app_role=APP)

    await owner.close()
    async with new_pool(empty_database.app_url, size=2) as pool:
        assert {table: await stored(pool, table) for table in MADE} == {table: added_up(rows, table) for table in MADE}
        assert (await verify_ledger(pool, ADMIN, days=TODAY.day)).differences == ()
