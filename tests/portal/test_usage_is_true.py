"""Every figure of the usage page is that of the ledger, whatever the calls, the period, the zone and the grouping."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest
from factories import ADMIN
from usage_rows import make_usage_row, write_rows

from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, NewVisitor

ZONES = ("UTC", "America/New_York", "Asia/Kolkata")
HISTORIES = 8
CALLS = 40


def amount_of(text: str) -> int:
    """Nano-USD of an amount as English writes it."""
    return int(Decimal(text.replace("$", "").replace(",", "")) * 10**9)


@pytest.mark.parametrize("zone", ZONES)
async def test_totals_groups_and_steps_are_those_of_the_ledger(new_visitor: NewVisitor, pool: Pool, zone: str) -> None:
    ana = await new_visitor()
    await users.update_user(pool, ADMIN, "ana@example.org", time_zone=zone)
    ana.zone = zone
    about = await pool.fetchrow(
        "SELECT u.id AS user_id, a.id AS account_id FROM users u JOIN accounts a ON a.owner_user_id = u.id"
    )
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    assert about is not None
    pick = Random(zone)
    for _ in range(HISTORIES):
        now = datetime.now(UTC)
        rows = []
        for _ in range(CALLS):
            cost = pick.choice((0, 1, pick.randint(1, 10**12)))
            moment = now - timedelta(seconds=pick.randint(1, 9 * 24 * 3600))
            changes = {"cost_nano_usd": cost, "counted_nano_usd": cost, "prompt_tokens": pick.randint(0, 9_999)}
            rows.append(make_usage_row(moment, **about, model_id=model_id, model_asked=OPEN, **changes))
        await write_rows(pool, rows)

        await ana.open("/usage?period=last-7-days&by=model&metric=cost")

        midnight = now.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        sums = await pool.fetchrow(
            "SELECT count(*) AS calls, sum(prompt_tokens) AS prompt, sum(cost_nano_usd) AS cost FROM usage_logs "
            "WHERE account_id = $1 AND started_at >= $2 AND started_at < $3",
            about["account_id"], midnight - timedelta(days=6), midnight + timedelta(days=1),
        )  # fmt: skip
        assert sums is not None
        *groups, total = ana.rows("groups")
        assert (int(total[1].replace(",", "")), int(total[2].replace(",", ""))) == (sums["calls"], sums["prompt"])
        assert amount_of(total[4]) == sums["cost"]
        assert sum(amount_of(group[4]) for group in groups) == sums["cost"]
        assert sum(amount_of(step[3]) for step in ana.rows("points")) == sums["cost"]
