"""Periodic tasks: model sync, expiry of subscriptions, alerts, cleaning."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from admin_api.operations.models.sync import SYNC, LiteLLM, delete_old_syncs, sync_models
from admin_api.operations.notifications.alerts import has_backlog, raise_alerts
from admin_api.operations.notifications.outbox import delete_old
from admin_api.operations.people.invitations import delete_expired
from admin_api.operations.subscriptions import expire_subscriptions
from gateway.domain.errors import GatewayError
from gateway.storage import failures

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# The gateway checks expiry at each call; this only updates the state that is shown.
EXPIRY_INTERVAL_S: Final = 30.0
SEND_INTERVAL_S: Final = 1.0
SEND_GRACE_S: Final = 3.0
CLEANING_INTERVAL_S: Final = 3600.0


async def repeat(name: str, work: Callable[[], Awaitable[object]], *, interval_s: float) -> None:
    """Runs `work` now and after each pause, without end. Failures are logged and tried again."""
    while True:
        try:
            await work()
        except GatewayError as exc:
            log.warning("timer_failed", timer=name, code=exc.code, cause=exc.message)
        except failures.UNAVAILABLE as exc:
            log.warning("timer_failed", timer=name, cause=str(exc) or type(exc).__name__)
        except Exception as exc:
            # A bug must not stop the task for good.
            log.error("timer_failed", timer=name, exc_info=exc)
        await asyncio.sleep(interval_s)


async def sync_once(pool: "Pool", litellm: LiteLLM) -> None:
    """One sync, unless another replica is running one."""
    report = await sync_models(pool, SYNC, litellm, wait=False)
    if report is not None and report.problem:
        log.warning("model_sync_problem", problem=report.problem, missing=report.missing)


async def expire_once(pool: "Pool") -> None:
    """Ends the subscriptions that have expired."""
    ended = await expire_subscriptions(pool)
    if ended:
        log.info("subscriptions_expired", count=ended)


async def alert_once(pool: "Pool") -> None:
    """Evaluates usage until less than one batch is left, unless another replica does it."""
    while True:
        raised = await raise_alerts(pool)
        if raised:
            log.info("alerts_raised", count=raised)
        if raised is None or not await has_backlog(pool):
            return


async def clean_once(pool: "Pool") -> None:
    """Deletes old messages, reports of syncs, and invitations that expired."""
    await delete_old(pool)
    await delete_expired(pool)
    await delete_old_syncs(pool)
