"""After the upgrade: what callers saw, the model server, the ledger and Redis have counted the same calls."""

import asyncio
from typing import Final

from accounting import ModelRecord, compare_calls, compare_rollups, read_drift, read_rows, wait_until_still

from upgrade.calls import Calls
from upgrade.run import SLOTS, STEP_TOKENS, Run

# 0.2.0 takes audit rows of a later version for altered ones: it does not know all columns that their hashes cover.
EXPECTED_ERRORS: Final = frozenset({"old: chain_is_broken"})
# Less is left than a call reserves at most.
MAX_LEFT: Final = 200
PLAYED: Final = """
SELECT count(*) FROM usage_logs AS u JOIN api_keys AS k ON k.id = u.api_key_id WHERE k.kind = 'session'
"""


async def settle(run: Run) -> None:
    """Ends the load, and compares."""
    await asyncio.gather(*(one.stop() for one in run.calls))
    await run.people.stop()
    run.expect("failed requests", run.people.take_failed(), {})
    for balancer in (run.site.gateway_balancer, run.site.admin_balancer):
        run.expect("connections without a program", balancer.without_program, 0)
    for calls in run.calls:
        await _compare(run, calls)
    await _compare_killed(run)
    await _compare_limits(run)
    run.expect("differences of rollups", list((await compare_rollups(run.site.pool)).differences), [])
    await run.site.run("new", "audit", "verify")
    errors = {event: number for event, number in run.site.logged("error").items() if event not in EXPECTED_ERRORS}
    run.expect("errors in the logs", errors, {})
    run.say(f"warnings in the logs: {dict(run.site.logged('warning'))}")


async def _compare(run: Run, calls: Calls) -> None:
    site, account_id = run.site, calls.caller.account_id
    await wait_until_still(site.pool, site.valkey.url(), account_id, calls.answered)
    record = ModelRecord(site.http, site.model_server.url, calls.prefix)
    await record.read()
    # Without those of keys that were made meanwhile.
    found = await read_rows(site.pool, account_id)
    rows = {name: row for name, row in found.items() if row["api_key_id"] == calls.caller.key_id}
    differs = compare_calls(rows, record.calls.values(), calls.answered, lambda _: False)
    counts = (len(differs.missing), differs.doubles, len(differs.others), differs.tokens_off)
    run.expect(f"{calls.prefix}: missing rows, doubled calls, unknown rows, tokens off", counts, (0, 0, 0, 0))
    run.expect(f"{calls.prefix}: rows", len(rows), len(calls.answered))
    drift = [one for one in await read_drift(site.pool, site.valkey.url(), account_id) if one.difference]
    run.expect(f"{calls.prefix}: counters that the ledger does not have", drift, [])
    run.say(f"{calls.prefix}: {len(rows)} rows, {len(record.calls)} calls of the model server")


async def _compare_killed(run: Run) -> None:
    """A row of each call, once."""
    rows = await read_rows(run.site.pool, run.left.account_id)
    run.expect("rows of killed gateways", rows.keys() ^ run.left_ids, set())


async def _compare_limits(run: Run) -> None:
    run.expect(f"most calls at once with {SLOTS} slots", run.slots.most_at_once(), SLOTS)
    used = await run.site.pool.fetchval(
        "SELECT sum(counted_tokens) FROM usage_logs WHERE account_id = $1", run.tokens.caller.account_id
    )
    limit = run.steps * STEP_TOKENS
    run.say(f"tokens: {used} used of {limit}")
    run.expect("tokens up to their limit", limit - MAX_LEFT < used <= limit, True)
    played = await run.site.pool.fetchval(PLAYED)
    run.expect("calls of the playground", played, 2)
