"""The procedures of docs/operations.md, each done under load. What they return is what an operator would see."""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import redis.asyncio
from accounting import read_rows, wait_for
from callers import Caller
from gateways import PEPPERS, SECRET_KEYS
from usage_rows import make_usage_row

from deploy.embedded.litellm import LiteLLM
from deploy.embedded.postgres import APP
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway.storage.ledger.batches import write_batch
from gateway.storage.ledger.journal_lines import encode_row
from gateway.storage.ledger.partitions import months_before
from operations.servers import dump, restore_dump
from operations.site import Site

# What gateways log when Postgres has lost commits.
LOST: Final = ("postgres_lost_commits", "lost_rows_restored")
Procedure = Callable[[Site, Caller], Awaitable[str]]


async def point_in_time(site: Site, caller: Caller) -> str:
    """A base backup, a mistake, and back to the moment before it."""
    server = site.postgres
    await asyncio.to_thread(server.back_up)
    await asyncio.sleep(2)
    moment = await asyncio.to_thread(server.ask, "SELECT now()")
    await asyncio.sleep(2)
    limits = await site.pool.fetchval("SELECT count(*) FROM limits")
    await asyncio.to_thread(server.ask, "DELETE FROM limits")  # the mistake
    # A key that a change concerns is read again, and is unknown if Postgres stops before.
    await asyncio.sleep(2)
    at_mistake = len(await read_rows(site.pool, caller.account_id))
    await archive_all(site)
    await asyncio.to_thread(server.restore_to, moment)
    await site.reconnect()
    found = await site.pool.fetchval(
        "SELECT count(*) FROM usage_logs WHERE request_id < uuid7_floor($1)", parse(moment)
    )
    assert await site.pool.fetchval("SELECT count(*) FROM limits") == limits
    await rows_come_back(site)
    return f"{at_mistake - found} of {at_mistake} rows were of after the moment, and came back"


async def from_dump(site: Site, caller: Caller) -> str:
    """A dump, and later a database that is restored from it."""
    with_file = site.postgres.archive / "litemaas.dump"
    await asyncio.to_thread(dump, site.postgres, with_file)
    await asyncio.sleep(2)
    before = len(await read_rows(site.pool, caller.account_id))
    size = with_file.stat().st_size
    await asyncio.to_thread(restore_dump, site.postgres, with_file)
    await site.reconnect()
    await rows_come_back(site)
    after = len(await read_rows(site.pool, caller.account_id))
    return f"a dump of {size // 1024} KiB; {before} rows before, {after} after it and the calls meanwhile"


async def api_key(site: Site, caller: Caller) -> str:
    """A key gets a new secret; the old one works on for a while."""
    shown = json.loads(site.command("keys", "rotate", str(caller.key_id), "--grace-s", "3600", "--json"))
    new = replace(caller, key=shown["key"])
    statuses = [(await one.chat("Hello [tokens=1]")).status for one in (caller, new)]
    assert statuses == [200, 200], statuses
    return "old and new secret: 200 and 200"


async def peppers(site: Site, caller: Caller) -> str:
    """A second pepper for new keys."""
    await site.roll(LITEMAAS_KEY_PEPPERS=f"{PEPPERS},2:{secrets.token_hex(32)}")
    printed = await asyncio.to_thread(site.command, "doctor", may_fail=True)
    site.transcript[-1] = "\n".join(["$ litemaas doctor", *(line for line in printed.splitlines() if "epper" in line)])
    return await api_key(site, caller)


async def secret_keys(site: Site, caller: Caller) -> str:
    """What is stored encrypted gets the new key."""
    await asyncio.to_thread(
        site.command, "provider-keys", "put", "OPENAI", "--provider", "openai", typed=f"sk-{secrets.token_hex(16)}\n"
    )
    new = f"2:{secrets.token_hex(32)}"
    await site.roll(LITEMAAS_SECRET_KEYS=f"{SECRET_KEYS},{new}")
    printed = await asyncio.to_thread(site.command, "secrets", "rotate")
    await site.roll(LITEMAAS_SECRET_KEYS=new)
    return printed.replace("\n", " ")


async def admin_token(site: Site, caller: Caller) -> str:
    """The token of the admin API."""
    old, site.admin_token = site.admin_token, secrets.token_hex(24)
    await site.roll()
    statuses = [await site.ask_admin("/api/v1/models", token) for token in (old, site.admin_token)]
    assert statuses == [401, 200], statuses
    return "old token 401, new token 200"


async def database_password(site: Site, caller: Caller) -> str:
    """The app's role has a new password; connections that are open stay."""
    await asyncio.to_thread(site.postgres.change_password, APP, secrets.token_hex(16))
    await site.roll()
    await site.reconnect()
    return "ALTER ROLE, then restarts"


async def redis_password(site: Site, caller: Caller) -> str:
    """Two passwords for a while."""
    old, new = site.valkey.password, secrets.token_hex(16)
    async with redis.asyncio.from_url(site.valkey.url()) as client:
        await client.execute_command("ACL", "SETUSER", "default", f">{new}")
        site.valkey.password = new
        await site.roll()
        await client.execute_command("ACL", "SETUSER", "default", f"<{old}")
    try:
        async with redis.asyncio.from_url(site.valkey.url().replace(new, old)) as client:
            await client.ping()
    except redis.exceptions.AuthenticationError:
        return "the old password is refused"
    raise AssertionError("the old password still works")


async def litellm_key(site: Site, caller: Caller) -> str:
    """Another LiteLLM with another key, beside the first one until nobody uses it."""
    proxies = [LiteLLM(site.folder / f"litellm{n}", site.model_server.url) for n in range(2)]
    try:
        for proxy in proxies:
            proxy.TIMEOUT_S = 400.0
            proxy.launch()
            await asyncio.to_thread(proxy.wait)
            await site.roll(LITEMAAS_LITELLM_URLS=proxy.url, LITEMAAS_LITELLM_API_KEY=proxy.api_key)
        proxies[0].stop()
        assert (await caller.chat("Hello [tokens=1]")).status == 200
        await site.roll(LITEMAAS_LITELLM_URLS=site.model_server.url, LITEMAAS_LITELLM_API_KEY="sk-x")
    finally:
        for proxy in proxies:
            proxy.discard()
    return "by a second LiteLLM, which the gateways were given one after the other"


async def redis_cluster(site: Site, caller: Caller) -> str:
    """Counters are not moved: the cluster's are computed from the ledger."""
    cluster = ValkeyCluster(site.folder / "cluster")
    site.clusters.append(cluster)
    await asyncio.to_thread(cluster.start)
    await site.roll(LITEMAAS_REDIS_URL=cluster.url)
    site.valkey.stop()
    await asyncio.to_thread(site.command, "limits", "repair")
    await asyncio.sleep(1)
    return f"{len(cluster.nodes)} primaries; the old server is off"


async def retention(site: Site, caller: Caller) -> str:
    """Months are sealed and dropped; their seals and sums stay."""
    now = datetime.now(UTC)
    first = months_before(now, 3)
    rows = [make_usage_row(first + timedelta(hours=7 * n)) for n in range(400) if first + timedelta(hours=7 * n) < now]
    await write_batch(site.pool, [encode_row(row) for row in rows])
    sums = "SELECT sum(calls)::bigint FROM usage_days"
    before = await site.pool.fetchval(sums)
    await site.roll(LITEMAAS_USAGE_RETENTION_MONTHS="1")

    async def are_dropped() -> bool:
        return bool(await site.pool.fetchval("SELECT count(*) = 2 FROM usage_months_dropped"))

    await wait_for(are_dropped, "months to be dropped", 120)
    printed = await asyncio.to_thread(site.command, "ledger", "verify", "--sealed", "--days", "366")
    assert await site.pool.fetchval(sums) >= before
    dropped = await site.pool.fetchval("SELECT string_agg(month::text, ' ' ORDER BY month) FROM usage_months_dropped")
    return f"dropped {dropped}; {printed.splitlines()[0].partition(' Head')[0]}"


async def archive_all(site: Site) -> None:
    """Until what Postgres has written is in the archive."""
    file = await asyncio.to_thread(site.postgres.ask, "SELECT pg_walfile_name(pg_switch_wal())")

    async def is_there() -> bool:
        return file in await asyncio.to_thread(os.listdir, site.postgres.archive)

    await wait_for(is_there, f"{file} in the archive", 60)


async def rows_come_back(site: Site) -> None:
    """Until each gateway has looked, and has written what was missing."""

    async def have_looked() -> bool:
        return len(site.log_lines("lost_rows_restored")) > site.restored

    await wait_for(have_looked, "a gateway to write rows again", 90)
    # The other one looks within five seconds.
    await asyncio.sleep(8)
    site.restored = len(site.log_lines("lost_rows_restored"))
    site.transcript += [line[:200] for word in LOST for line in site.log_lines(word)[-2:]]
    await asyncio.to_thread(site.command, "ledger", "verify", "--days", "2")


def parse(moment: str) -> datetime:
    """As Postgres prints it."""
    return datetime.fromisoformat(moment if ":" in moment[-3:] else f"{moment}:00")


PROCEDURES: Final[dict[str, Procedure]] = {
    "restore to a point in time": point_in_time,
    "restore a dump": from_dump,
    "a key's secret": api_key,
    "pepper": peppers,
    "secret key": secret_keys,
    "admin token": admin_token,
    "password of the app's role": database_password,
    "password of Redis": redis_password,
    "from one Redis to a cluster": redis_cluster,
    "retention": retention,
    "key of LiteLLM": litellm_key,
}
