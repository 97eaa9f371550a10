"""The daily check of the hash chains: what metrics and the log say (case S8)."""

import asyncio
import time
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import pytest
from admin_client import settings_for
from conftest import Database
from factories import make_user
from structlog.testing import capture_logs
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api import metrics, scheduler
from admin_api.main import create_app
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.postgres import Pool

CHAINS = ("audit", "ledger")
CLOSED = TODAY - timedelta(days=9)


def faults() -> dict[str, float]:
    return {chain: metrics.FAULTS.labels(chain)._value.get() for chain in CHAINS}


@pytest.fixture
async def _rows(pool: Pool) -> None:
    await make_user(pool)
    await write_rows(pool, [make_usage_row(CLOSED)])
    assert await close_due_days(pool) == [CLOSED.date()]


@pytest.mark.usefixtures("_rows")
async def test_s8_a_check_reports_its_time_and_the_heads(pool: Pool, logged: list[MutableMapping[str, Any]]) -> None:
    began = time.time()

    await scheduler.verify_once(pool)

    assert all(metrics.VERIFIED.labels(chain)._value.get() >= began for chain in CHAINS)
    assert faults() == {"audit": 0, "ledger": 0}
    heads = {line["chain"]: line["head"] for line in logged if line["event"] == "chain_verified"}
    assert heads["ledger"].startswith(f"{CLOSED:%Y-%m-%d}:")
    # The user, and the seal.
    assert heads["audit"].startswith("2:")


@pytest.mark.usefixtures("_rows")
async def test_s8_tampering_is_reported(database: Database, pool: Pool) -> None:
    await database.execute_as_owner("UPDATE usage_logs SET cost_nano_usd = 1")
    await database.execute_as_owner("ALTER TABLE audit_logs DISABLE TRIGGER USER; DELETE FROM audit_logs WHERE id = 1")

    with capture_logs() as lines:
        await scheduler.verify_once(pool)

    assert faults() == {"audit": 1, "ledger": 1}
    found = {line["chain"]: line["faults"] for line in lines if line["event"] == "chain_is_broken"}
    assert found == {"audit": ["missing 1"], "ledger": [f"changed {CLOSED:%Y-%m-%d}"]}


@pytest.mark.usefixtures("_rows")
async def test_s8_a_running_admin_api_checks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "VERIFICATION_DELAY_S", 0.0)
    for chain in CHAINS:
        metrics.VERIFIED.labels(chain).set(0)
    app = create_app(settings_for(database.app_url))

    async with app.router.lifespan_context(app), asyncio.timeout(60):
        while not all(metrics.VERIFIED.labels(chain)._value.get() for chain in CHAINS):
            await asyncio.sleep(0.05)

    assert faults() == {"audit": 0, "ledger": 0}
