"""Redis or Valkey: reachable, never evicting, able to write, with scripts allowed; Sentinels and clusters."""

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.doctor.clocks import Clock, compare, now_s
from admin_api.operations.doctor.findings import Findings
from admin_api.storage.redis_servers import (
    FAILED,
    REFUSED,
    RedisServer,
    RedisServers,
    shown,
    single_address,
)
from gateway.storage.redis.link import Address
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

OLDEST_REDIS: Final = 7
TIMEOUT_S: Final = 4.0
# Of maxmemory. From here on little is left for a busy hour.
NEARLY_FULL: Final = 0.9
SLOTS: Final = 16384
MIN_SENTINELS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """LITEMAAS_REDIS_URL and its CA."""

    url: "SecretStr"
    tls: TlsFiles = NO_FILES


async def check_redis(found: Findings, redis: Redis) -> None:
    """Each primary, and what finds it."""
    url = redis.url.get_secret_value()
    servers = RedisServers(url, tls=redis.tls, timeout_s=TIMEOUT_S)
    if servers.kind == "sentinel":
        primaries = await _check_sentinels(found, servers)
    elif servers.kind == "cluster":
        primaries = await _check_cluster(found, servers)
    else:
        primaries = [single_address(url)]
    await asyncio.gather(*(_check_server(found, servers, address) for address in primaries))


async def _check_sentinels(found: Findings, servers: RedisServers) -> list[Address]:
    state = await servers.read_sentinels()
    for address, fault in state.faults.items():
        found.problem(f"The Sentinel at {address} does not answer ({fault}).", "Start it, or correct its address.")
    if state.quorum_fault is not None:
        found.problem(
            f"The Sentinels could not fail over now ({state.quorum_fault}).", "Start the Sentinels that are missing."
        )
    if state.sentinels < MIN_SENTINELS:
        found.warn(
            f"LITEMAAS_REDIS_URL names {state.sentinels} Sentinels.",
            f"Run and name {MIN_SENTINELS} or more: fewer cannot agree once one is away.",
        )
    if state.primary is None:
        found.problem(
            "No Sentinel knows the primary.", "Correct its name, the path of LITEMAAS_REDIS_URL, or start a primary."
        )
        return []
    found.ok(f"Sentinels name {shown(state.primary)} as the primary.")
    return [state.primary]


async def _check_cluster(found: Findings, servers: RedisServers) -> list[Address]:
    try:
        state = await servers.read_cluster()
    except FAILED as exc:
        _report_failure(found, ", ".join(map(shown, servers.addresses)), exc)
        return []
    covered = int(state.info.get("cluster_slots_assigned", "0")) - int(state.info.get("cluster_slots_fail", "0"))
    if state.info.get("cluster_state") != "ok" or covered < SLOTS:
        found.problem(
            f"The cluster serves {covered} of {SLOTS} slots: accounts in the others are refused.",
            "Start the primaries that are missing, or a replica's takeover (CLUSTER FAILOVER TAKEOVER).",
        )
    if state.failing:
        found.problem(f"Nodes of the cluster do not answer: {', '.join(state.failing)}.", "Start them, or forget them.")
    if alone := [shown(address) for address, replicas in state.primaries.items() if replicas == 0]:
        found.warn(
            f"Primaries without a replica: {', '.join(alone)}.",
            "Add a replica to each: otherwise its accounts are refused while it is away.",
        )
    found.ok(f"The cluster has {len(state.primaries)} primaries.")
    return list(state.primaries)


async def _check_server(found: Findings, servers: RedisServers, address: Address) -> None:
    before_s = now_s()
    try:
        server = await servers.read_server(address)
    except FAILED as exc:
        _report_failure(found, shown(address), exc)
        return
    # The time was read between them, behind the connecting.
    compare(found, f"Redis at {server.address}", Clock(before_s, server.time_s, now_s()))
    _check_version(found, server)
    _check_memory(found, server)
    _check_writing(found, server)
    if not server.may_run_scripts:
        found.problem(
            f"The user of LITEMAAS_REDIS_URL may not ask for scripts at {server.address}.",
            'Give it the rights in docs/operations.md, "A user of Redis with few rights".',
        )


def _report_failure(found: Findings, place: str, exc: BaseException) -> None:
    if isinstance(exc, REFUSED):
        found.problem(
            f"Redis at {place} refuses the user or password ({exc}).", "Correct them in LITEMAAS_REDIS_URL, or the ACL."
        )
        return
    found.problem(
        f"Redis at {place} does not answer ({exc or type(exc).__name__}).",
        "Look whether it runs, whether LITEMAAS_REDIS_URL is right (rediss:// for TLS, LITEMAAS_REDIS_CA_FILE for its "
        "CA), and whether a network policy or firewall lets this machine through.",
    )


def _name_and_version(info: "Mapping[str, Any]") -> tuple[str, str]:
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "of an unknown version"))


def _check_version(found: Findings, server: RedisServer) -> None:
    name, version = _name_and_version(server.info)
    major = re.match(r"\d+", version)
    if name == "Redis" and major and int(major[0]) < OLDEST_REDIS:
        found.problem(
            f"Redis {version} at {server.address} is too old.", f"Upgrade to Redis {OLDEST_REDIS} or later, or Valkey."
        )
    if server.info.get("role") != "master":
        found.problem(
            f"{name} at {server.address} is a replica, which takes no writes.",
            "Set LITEMAAS_REDIS_URL to the primary, or to Sentinels (redis+sentinel://).",
        )
    found.ok(f"{name} {version} answers at {server.address}.")


def _check_memory(found: Findings, server: RedisServer) -> None:
    policy, most = server.info.get("maxmemory_policy"), int(server.info.get("maxmemory", 0))
    if policy is not None and policy != "noeviction":
        found.problem(
            f"Redis at {server.address} has maxmemory-policy {policy}: when it is full it forgets counters, and limits "
            "with them.",
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration.",
        )
    if most == 0:
        found.warn(
            f"Redis at {server.address} has no maxmemory: the system ends it when memory is short.",
            "Set maxmemory to about three quarters of what its machine or container may use.",
        )
    elif (used := int(server.info.get("used_memory", 0))) > NEARLY_FULL * most:
        found.problem(
            f"Redis at {server.address} uses {used * 100 // most} % of its maxmemory; when full it refuses writes, and "
            "the gateways answer 503.",
            "Raise maxmemory, or use a Redis of LiteMaaS's own.",
        )


def _check_writing(found: Findings, server: RedisServer) -> None:
    """Without persistence counters are computed from the ledger after a restart. One that fails stops all writes."""
    info = server.info
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        found.problem(
            f"Redis at {server.address} cannot write its append-only file, and refuses writes.",
            "Look at its log and its disk; without the file (appendonly no) counters are computed from the ledger.",
        )
    if server.saves and info.get("rdb_last_bgsave_status", "ok") != "ok":
        found.problem(
            f"The last snapshot of Redis at {server.address} failed; until one succeeds it refuses writes.",
            'Look at its log and its disk; without snapshots (save "") counters are computed from the ledger.',
        )
    if info.get("aof_enabled") or server.saves:
        found.ok(f"Redis at {server.address} keeps its counters on disk.")
    elif server.saves is None:
        found.ok(f"Whether Redis at {server.address} keeps its counters on disk cannot be read; nothing depends on it.")
    else:
        found.ok(f"Redis at {server.address} keeps nothing on disk; counters are computed from the ledger.")
