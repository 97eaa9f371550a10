"""A gateway knows whether it receives changes: after its start, after a lost connection, and behind a pooler that drops
notifications."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg
import pytest
from conftest import Database

from deploy.embedded.postgres import SUPERUSER, Postgres
from gateway.storage import changes as storage_changes
from gateway.storage.changes import DEAF_AFTER_S, HEARTBEAT_S, Changes, Listening
from gateway.storage.postgres import Pool

Forgotten = list[tuple[str, tuple[int, ...]]]


@asynccontextmanager
async def listening(pool: Pool, listen_url: str, forgotten: Forgotten) -> AsyncIterator[Changes]:
    changes = Changes(pool, listen_url, lambda letter, ids: forgotten.append((letter, ids)))
    task = asyncio.ensure_future(changes.run())
    try:
        yield changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def becomes(changes: Changes, state: Listening, timeout_s: float) -> float:
    """How long it took."""
    began = monotonic()
    while changes.listening is not state:
        assert monotonic() - began < timeout_s, f"{changes.listening} after {timeout_s} s"
        await asyncio.sleep(0.01)
    return monotonic() - began


@pytest.fixture
def forgotten() -> Forgotten:
    return []


async def test_changes_are_received_once_connected(pool: Pool, database: Database, forgotten: Forgotten) -> None:
    async with listening(pool, database.app_url, forgotten) as changes:
        await becomes(changes, Listening.GOOD, 2.0)
        # Earlier changes were not received.
        assert forgotten[0] == ("*", ())
        forgotten.clear()

        await pool.execute("SELECT pg_notify('litemaas_changes', 'k:5,6')")
        async with asyncio.timeout(5):
            while not forgotten:
                await asyncio.sleep(0.01)

        assert forgotten == [("k", (5, 6))]
        # It stays connected: one heartbeat a second is enough.
        await asyncio.sleep(HEARTBEAT_S * 2.2)
        assert (changes.listening, forgotten) == (Listening.GOOD, [("k", (5, 6))])


async def test_a_lost_connection_is_detected_at_once_and_reopened(
    pool: Pool, database: Database, postgres: Postgres, forgotten: Forgotten
) -> None:
    async with listening(pool, database.app_url, forgotten) as changes:
        await becomes(changes, Listening.GOOD, 2.0)
        forgotten.clear()
        admin = await asyncpg.connect(postgres.url(SUPERUSER, "postgres"))
        sql = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = $1 AND application_name = 'litemaas-changes'"""
        await admin.execute(sql, database.name)
        await admin.close()

        assert await becomes(changes, Listening.DEAF, 1.0) < 0.5
        assert forgotten == [("*", ())]
        await becomes(changes, Listening.GOOD, 2.0)
        # Also what changed in between.
        assert forgotten == [("*", ()), ("*", ())]


async def test_missing_heartbeats_are_detected(pool: Pool, empty_database: Database, forgotten: Forgotten) -> None:
    # Notifications stay within a database: as behind a pooler, LISTEN is answered and nothing ever comes.
    async with listening(pool, empty_database.app_url, forgotten) as changes:
        await becomes(changes, Listening.DEAF, DEAF_AFTER_S + 3)
        assert ("*", ()) in forgotten
        await asyncio.sleep(DEAF_AFTER_S + 1)
        assert changes.listening is Listening.DEAF


async def test_an_unreachable_listen_address_counts_as_not_listening(pool: Pool, forgotten: Forgotten) -> None:
    async with listening(pool, "postgresql://x:y@127.0.0.1:1/x", forgotten) as changes:
        await becomes(changes, Listening.DEAF, DEAF_AFTER_S + 3)


async def test_a_postgres_outage_is_distinct_from_not_listening(forgotten: Forgotten) -> None:
    url = "postgresql://x:y@127.0.0.1:1/x"
    async with asyncpg.create_pool(url, min_size=0) as nowhere, listening(nowhere, url, forgotten) as changes:
        await asyncio.sleep(HEARTBEAT_S * 1.5)

        assert (changes.listening, forgotten) == (Listening.AWAY, [])


async def test_a_recovered_postgres_is_found_within_a_second(pool: Pool, forgotten: Forgotten) -> None:
    """It reconnects twice per heartbeat, so a change right after the recovery is received soon."""
    tries = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, listening(pool, f"postgresql://x:y@127.0.0.1:{port}/x", forgotten):
        await asyncio.sleep(HEARTBEAT_S * 3.2)

    assert tries >= 5


async def test_that_postgres_takes_writes_again_is_said_once(
    pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[None] = []
    changes = Changes(pool, database.app_url, lambda *_: None, is_back=lambda: said.append(None))
    for _ in range(2):
        await changes._send_beat()
    with monkeypatch.context() as patch:
        patch.setattr(storage_changes, "NOTIFY_HEARTBEAT", "SELECT pg_notify($1, (1 / 0)::text)")
        for _ in range(2):
            await changes._send_beat()
    assert said == []

    for _ in range(2):
        await changes._send_beat()
    assert len(said) == 1
