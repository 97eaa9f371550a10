"""The faults, one function each."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from accounting import wait_for

from deploy.embedded.component import Component
from distributed.run import Line, Run
from distributed.site import GATEWAYS

AWAY_S: Final = 3.0
CUT_S: Final = 6.0
BEHIND_S: Final = 3.0
USED_UP_S: Final = 60.0


async def kill(part: Component) -> None:
    """kill −9; returns when it has ended."""
    assert part.child is not None
    os.kill(part.pid, signal.SIGKILL)
    await asyncio.to_thread(part.child.stop)


async def nothing(run: Run) -> None:
    """The baseline."""
    run.use_up()
    await asyncio.sleep(AWAY_S)


async def gateway_killed(run: Run) -> None:
    """It comes back after some seconds, and adopts its journal."""
    run.use_up()
    gateway = run.site.gateways[0]
    await kill(gateway)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(gateway.start)


async def gateway_stopped(run: Run) -> None:
    """As in a rolling restart."""
    run.use_up()
    gateway = run.site.gateways[1]
    assert gateway.child is not None
    os.kill(gateway.pid, signal.SIGTERM)
    await asyncio.to_thread(gateway.child.stop, 60)
    await asyncio.to_thread(gateway.start)


async def admin_killed(run: Run) -> None:
    run.use_up()
    admin = run.site.admins[0]
    await kill(admin)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(admin.start)


async def litellm_killed(run: Run) -> None:
    run.has_litellm_died = True
    run.use_up()
    litellm = run.site.litellms[0]
    await kill(litellm)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(litellm.start)


async def litellm_stopped(run: Run) -> None:
    """SIGTERM."""
    run.has_litellm_died = True
    run.use_up()
    litellm = run.site.litellms[1]
    await asyncio.to_thread(litellm.stop)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(litellm.start)


async def valkey_primary_killed(run: Run) -> None:
    """Its replica takes over by itself. Without all slots the cluster serves none, so every gateway is without
    Redis."""
    node = run.owner(run.limited)
    run.cut_off = GATEWAYS
    await kill(node)
    run.use_up()

    async def is_taken_over() -> bool:
        return await asyncio.to_thread(run.owner, run.limited) is not node

    await wait_for(is_taken_over, "the replica to take over", 30)
    await asyncio.sleep(1)
    await asyncio.to_thread(run.site.cluster.rejoin, node)


async def valkey_replica_killed(run: Run) -> None:
    run.use_up()
    cluster = run.site.cluster
    owner = run.owner(run.limited)
    replica = next(node for node in (*cluster.replicas, *cluster.nodes) if cluster.is_replica(node, owner))
    await kill(replica)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(cluster.rejoin, replica)


async def redis_cut_off(run: Run) -> None:
    """Of one gateway: it goes on with its share, and the others with what is in Redis."""
    run.cut_off = 1
    run.site.links["redis"].cut()
    run.use_up()
    # The others have used all that was left, and this one its share.
    await wait_for(run.is_used_up, "the limit and the share to be used up", USED_UP_S)
    run.site.links["redis"].mend()


async def postgres_cut_off(run: Run) -> None:
    """Of one gateway."""
    run.use_up()
    run.site.links["postgres"].cut()
    await asyncio.sleep(CUT_S)
    run.site.links["postgres"].mend()


async def standby_killed(run: Run) -> None:
    """No commit ends without it, so rows and changes wait until another one follows."""
    run.use_up()
    await kill(run.site.standby)
    await asyncio.sleep(AWAY_S)
    await asyncio.to_thread(run.site.standby.start)


async def postgres_promoted(run: Run) -> None:
    """Synchronous replication: all that was committed is there."""
    await run.site.set_synchronous(True)
    run.use_up()
    await kill(run.site.primary)
    await run.site.promote()
    await asyncio.sleep(AWAY_S)
    await run.site.follow()


async def postgres_promoted_behind(run: Run) -> None:
    """Asynchronous replication, and the replica has not received the last seconds. Their rows come back from the
    journals; changes by the admin API do not."""
    site = run.site
    await site.set_synchronous(False)
    await site.wait_for_standby()
    run.loses_changes = True
    site.links["replication"].cut()
    run.use_up()
    await asyncio.sleep(BEHIND_S)
    run.line.lost_rows = await site.count_missing_on_standby()
    await kill(site.primary)
    run.not_replicated = run.count_admitted() - await site.count_on_standby(run.limited.account_id)
    await site.promote()
    site.links["replication"].mend()
    await asyncio.sleep(AWAY_S)
    await site.follow()


async def postgres_hung(run: Run) -> None:
    """The machine of the primary is gone: connections stay open and silent, and new ones get no answer."""
    await run.site.set_synchronous(True)
    run.use_up()
    gone = run.site.primary
    os.kill(gone.pid, signal.SIGSTOP)
    await asyncio.sleep(1)
    await run.site.promote()
    await asyncio.sleep(CUT_S)
    os.kill(gone.pid, signal.SIGKILL)
    os.kill(gone.pid, signal.SIGCONT)
    await asyncio.to_thread(gone.stop)
    await run.site.follow()


Act = Callable[[Run], Awaitable[None]]
FAULTS: Final[dict[str, Act]] = {
    "none": nothing,
    "a gateway: kill −9": gateway_killed,
    "a gateway: SIGTERM, started again": gateway_stopped,
    "an admin API: kill −9": admin_killed,
    "a LiteLLM: kill −9": litellm_killed,
    "a LiteLLM: SIGTERM": litellm_stopped,
    "a Valkey primary: kill −9, its replica takes over": valkey_primary_killed,
    "a Valkey replica: kill −9": valkey_replica_killed,
    "a gateway cut off from Redis": redis_cut_off,
    "a gateway cut off from Postgres": postgres_cut_off,
    "the Postgres replica: kill −9": standby_killed,
    "the Postgres primary: kill −9, the replica promoted": postgres_promoted,
    "the Postgres primary: kill −9, a replica promoted that lacks 3 s": postgres_promoted_behind,
    "the Postgres primary hangs, the replica promoted": postgres_hung,
}


async def measure(run: Run) -> Line:
    """Runs one fault; returns its line."""
    try:
        await run.begin()
        await FAULTS[run.line.fault](run)
        await run.recover()
        return await run.end()
    finally:
        await run.cancel()
