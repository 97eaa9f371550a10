"""Periodic tasks: model sync, expiry of subscriptions, alerts, cleaning, verification of hash chains."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from admin_api import metrics
from admin_api.operations.actors import Actor
from admin_api.operations.audit import verify_audit
from admin_api.operations.keys.idle_keys import end_idle_keys
from admin_api.operations.maintenance.ledger import verify_closed_days
from admin_api.operations.maintenance.usage_store import Feeder, feed
from admin_api.operations.models.sync import SYNC, LiteLLM, delete_old_syncs, sync_models
from admin_api.operations.notifications.alerts import has_backlog, raise_alerts
from admin_api.operations.notifications.outbox import delete_old
from admin_api.operations.notifications.pending_requests import mail_pending_requests
from admin_api.operations.people.invitations import delete_expired
from admin_api.operations.subscriptions import expire_subscriptions
from admin_api.operations.usage.refusals import delete_old_refused_calls
from gateway.domain.errors import GatewayError
from gateway.storage import failures

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# The gateway checks expiry at each call; this only updates the state that is shown.
EXPIRY_INTERVAL_S: Final = 30.0
SEND_INTERVAL_S: Final = 1.0
SEND_GRACE_S: Final = 3.0
REQUESTS_INTERVAL_S: Final = 15.0
MEASURE_INTERVAL_S: Final = 15.0
MEASURE_TEAMS_INTERVAL_S: Final = 60.0
CLEANING_INTERVAL_S: Final = 3600.0
VERIFICATION_INTERVAL_S: Final = 86_400.0
# After a start other work comes first.
VERIFICATION_DELAY_S: Final = 60.0
# The rows of the last two or three closed days; older ones were checked before. All seals are checked.
VERIFIED_DAYS: Final = 12
VERIFIER: Final = Actor(name="verification", role="admin-readonly")


async def repeat(name: str, work: Callable[[], Awaitable[object]], *, interval_s: float, delay_s: float = 0.0) -> None:
    """Runs `work` after `delay_s` and after each pause, without end. Failures are logged, counted and tried again.
    `work` returns False if another replica is at it."""
    label = name.replace(" ", "_")
    ended_at, failed = metrics.TASK_TIME.labels(label), metrics.TASK_FAILURES.labels(label)
    # A task that never succeeds is late by the time since the start.
    ended_at.set(time.time())
    await asyncio.sleep(delay_s)
    while True:
        try:
            if await work() is not False:
                ended_at.set(time.time())
        except GatewayError as exc:
            failed.inc()
            log.warning("timer_failed", timer=name, code=exc.code, cause=exc.message)
        except failures.UNAVAILABLE as exc:
            failed.inc()
            log.warning("timer_failed", timer=name, cause=str(exc) or type(exc).__name__)
        except Exception as exc:
            # A bug must not stop the task for good.
            failed.inc()
            log.error("timer_failed", timer=name, exc_info=exc)
        await asyncio.sleep(interval_s)


async def sync_once(pool: "Pool", litellm: LiteLLM) -> bool:
    """One sync, unless another replica is running one: then False."""
    report = await sync_models(pool, SYNC, litellm, wait=False)
    if report is not None and report.problem:
        log.warning("model_sync_problem", problem=report.problem, missing=report.missing)
    return report is not None


async def expire_once(pool: "Pool") -> None:
    """Ends the subscriptions that have expired."""
    ended = await expire_subscriptions(pool)
    if ended:
        log.info("subscriptions_expired", count=ended)


async def end_keys_once(pool: "Pool") -> None:
    """Announces and ends keys that are idle for longer than the settings allow."""
    done = await end_idle_keys(pool)
    if done.announced or done.ended:
        log.info("idle_keys", announced=done.announced, ended=done.ended)


async def alert_once(pool: "Pool") -> bool:
    """Evaluates usage until less than one batch is left, unless another replica does it: then False."""
    while True:
        raised = await raise_alerts(pool)
        if raised:
            log.info("alerts_raised", count=raised)
        if raised is None or not await has_backlog(pool):
            return raised is not None


async def mail_requests_once(pool: "Pool") -> None:
    """Writes an e-mail to admins about requests that wait, if it is time for one."""
    count = await mail_pending_requests(pool)
    if count:
        log.info("pending_requests_mailed", count=count)


async def clean_once(pool: "Pool") -> None:
    """Deletes old messages, reports of syncs, refused calls, and invitations that expired."""
    await delete_old(pool)
    await delete_expired(pool)
    await delete_old_syncs(pool)
    await delete_old_refused_calls(pool)


async def feed_once(pool: "Pool", feeder: Feeder) -> bool:
    """Sends ClickHouse what it lacks, unless another replica does it: then False."""
    while True:
        fed = await feed(pool, feeder)
        if fed is None or not fed.has_more:
            return fed is not None


async def verify_once(pool: "Pool") -> None:
    """Checks the hash chains over the audit log and the closed days of the ledger. The last entry of each is logged: it
    is the anchor that a later check can be given, kept where the database's owner cannot write."""
    audited = await verify_audit(pool, VERIFIER)
    _report("audit", audited.findings, audited.head)
    closed = await verify_closed_days(pool, VERIFIER, days=VERIFIED_DAYS)
    _report("ledger", closed.findings, closed.head)


def _report(chain: str, findings: Sequence[Any], head: object) -> None:
    metrics.VERIFIED.labels(chain).set(time.time())
    metrics.FAULTS.labels(chain).set(len(findings))
    if findings:
        faults = [f"{finding.fault} {finding[1]}" for finding in findings[:10]]
        log.error("chain_is_broken", chain=chain, count=len(findings), faults=faults)
    else:
        log.info("chain_verified", chain=chain, head=None if head is None else str(head))
