"""The admin API's app: settings, routes, connections, periodic tasks."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fastapi import APIRouter, Depends, FastAPI

from admin_api import scheduler
from admin_api.identity.identity_providers import IdentityProviders
from admin_api.identity.jwt_logins import JWTLogins
from admin_api.operations.maintenance.measurements import measure, measure_teams
from admin_api.operations.maintenance.usage_store import Feeder
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.outbox import THREADS, Outbox
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.playground.gateway_link import GatewayLink
from admin_api.portal import routes as portal
from admin_api.reported_settings import SettingsError
from admin_api.routes import (
    alerts,
    audit,
    auth,
    deliveries,
    docs,
    email_choices,
    health,
    identities,
    invitations,
    join_requests,
    keys,
    ledger,
    limit_requests,
    limits,
    models,
    personal_tokens,
    prices,
    provider_keys,
    refusals,
    runtime_settings,
    subscriptions,
    system,
    teams,
    usage,
    usage_store,
    users,
    validation_errors,
    webhooks,
)
from admin_api.routes.openapi.document import describe
from admin_api.routes.query_parameters import check_query
from admin_api.settings import Settings
from admin_api.storage.call_rates import CALL_RATE, CallRates
from admin_api.storage.clickhouse.link import new_clickhouse
from admin_api.storage.clickhouse.store import store_of
from admin_api.tls import trusted
from admin_api.web import envelope
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import new_pool
from gateway.storage.redis.link import Scripts
from gateway.storage.redis.urls import connect
from gateway.web.background import Background
from gateway.web.collector import spare_the_collector
from gateway.web.logs import configure_logs
from gateway.web.shutdown import Shutdown

# After this time without a free connection to Postgres a request is answered with 503.
POOL_WAIT_S: Final = 10.0
ROUTERS: Final = (
    auth.router,
    # All before the users' routes: `me` is not a user's name.
    personal_tokens.router,
    email_choices.router,
    invitations.router,
    join_requests.router,
    audit.activity_router,
    users.router,
    identities.router,
    teams.router,
    teams.admin_router,
    models.router,
    models.choices_router,
    models.admin_router,
    prices.router,
    subscriptions.router,
    subscriptions.admin_router,
    keys.router,
    limits.router,
    limits.admin_router,
    limit_requests.router,
    runtime_settings.router,
    runtime_settings.display_router,
    provider_keys.router,
    usage.router,
    refusals.router,
    alerts.router,
    webhooks.router,
    deliveries.router,
    audit.router,
    ledger.router,
    usage_store.router,
    system.router,
    health.router,
)


def _include_all() -> APIRouter:
    whole = APIRouter(dependencies=[Depends(check_query)], generate_unique_id_function=lambda route: route.name)
    for router in (*ROUTERS, docs.router):
        whole.include_router(router)
    return whole


# Once for all apps of a process: FastAPI reads the signatures of all routes again for each app that includes a router,
# a quarter of a second of processor time.
ROUTES: Final = _include_all()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI app. Without settings it reads the environment, and raises SystemExit if that is not valid."""
    if settings is None:
        try:
            settings = Settings.from_env()
        except SettingsError as error:
            raise SystemExit(str(error)) from None
    configure_logs(settings.log_level)
    app = FastAPI(
        title="LiteMaaS",
        version="1",
        summary="Users, subscriptions, keys, limits and usage of the gateway.",
        lifespan=_lifespan,
        routes=[*ROUTES.routes, *portal.routes()],
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # FastAPI's own way to change it
    app.state.settings = settings
    app.state.litellm = LiteLLM(
        urls=settings.litellm_urls, api_key=settings.litellm_api_key, tls=settings.tls("litellm")
    )
    app.state.identity_providers = IdentityProviders(settings)
    app.state.jwt_logins = JWTLogins(settings)
    app.state.routes = [route for router in (*ROUTERS, docs.router) for route in router.routes]
    app.state.webhook_rules = WebhookURLRules(settings.webhook_allow_http, settings.webhook_networks)
    validation_errors.install(app)
    envelope.install(app, is_secure=settings.is_secure, cors_origins=settings.cors_origins)
    portal.show_unknown_pages(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    app.state.shutdown = Shutdown(settings.shutdown_delay_s)
    app.state.shutdown.listen()
    # Starts while Postgres is away; readiness reports it.
    pool = new_pool(
        settings.database_url.get_secret_value(),
        size=settings.admin_pool_size,
        behind_pgbouncer=settings.pgbouncer,
        tls=settings.tls("database"),
        name="litemaas-admin",
        replans=True,
        wait_s=POOL_WAIT_S,
    )
    background = Background()
    # A slow mail server or name server must not delay others; the loop's default is six threads on two cores.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="outside"))
    async with pool:
        app.state.pool = pool
        scripts = await _open_redis(settings)
        app.state.counters = Counters(scripts) if scripts else None
        app.state.call_rates = CallRates(scripts) if scripts else None
        clickhouse = new_clickhouse(settings.clickhouse_url, settings.clickhouse_ca_file)
        app.state.clickhouse = clickhouse
        answering = clickhouse if settings.clickhouse_answers else None
        app.state.usage_store = store_of(answering, max_lag_s=settings.clickhouse_max_lag_s)
        gateway_url = settings.gateway_internal_url or settings.gateway_url
        app.state.gateway_link = GatewayLink(gateway_url, trusted(settings.gateway_ca_file))
        expire = partial(scheduler.expire_once, pool)
        outbox = Outbox(pool, sender_of(settings, app.state.webhook_rules))
        background.start(scheduler.repeat("expiry", expire, interval_s=scheduler.EXPIRY_INTERVAL_S), "expiry")
        for name, work, interval_s in (
            ("alerts", partial(scheduler.alert_once, pool), settings.alert_interval_s),
            ("messages", outbox.send_due, scheduler.SEND_INTERVAL_S),
            ("idle keys", partial(scheduler.end_keys_once, pool), scheduler.CLEANING_INTERVAL_S),
            ("cleaning", partial(scheduler.clean_once, pool), scheduler.CLEANING_INTERVAL_S),
            (
                "measurements",
                partial(
                    measure, pool, sends_mail=settings.smtp_url is not None, syncs=settings.model_sync_interval_s > 0
                ),
                scheduler.MEASURE_INTERVAL_S,
            ),
        ):
            background.start(scheduler.repeat(name, work, interval_s=interval_s), name)
        if settings.smtp_url is not None:
            requests = partial(scheduler.mail_requests_once, pool)
            interval_s = scheduler.REQUESTS_INTERVAL_S
            background.start(scheduler.repeat("requests", requests, interval_s=interval_s), "requests")
        if clickhouse is not None:
            feed = partial(scheduler.feed_once, pool, Feeder(clickhouse))
            background.start(
                scheduler.repeat("usage store", feed, interval_s=settings.clickhouse_feed_interval_s), "usage store"
            )
        verify = partial(scheduler.verify_once, pool)
        background.start(
            scheduler.repeat(
                "verification",
                verify,
                interval_s=scheduler.VERIFICATION_INTERVAL_S,
                delay_s=scheduler.VERIFICATION_DELAY_S,
            ),
            "verification",
        )
        if settings.metrics_teams:
            of_teams = partial(measure_teams, pool, settings.metrics_teams)
            background.start(
                scheduler.repeat("team measurements", of_teams, interval_s=scheduler.MEASURE_TEAMS_INTERVAL_S), "teams"
            )
        if settings.model_sync_interval_s:
            sync = partial(scheduler.sync_once, pool, app.state.litellm)
            background.start(
                scheduler.repeat("model sync", sync, interval_s=settings.model_sync_interval_s), "model sync"
            )
        spare_the_collector()
        try:
            yield
        finally:
            await background.stop()
            await outbox.close(grace_s=scheduler.SEND_GRACE_S)
            await app.state.gateway_link.close()
            if clickhouse is not None:
                await clickhouse.close()
            if app.state.counters is not None:
                await app.state.counters.close()


def sender_of(settings: Settings, rules: WebhookURLRules) -> Sender:
    """What notifications are sent with; without a mail server e-mails wait."""
    mail = None
    if settings.smtp_url is not None and settings.mail_from is not None:
        mail = MailServer(settings.smtp_url, settings.mail_from, settings.smtp_ca_file)
    return Sender(keys=settings.encryption_keys, mail=mail, rules=rules, ca_file=settings.webhook_ca_file)


async def _open_redis(settings: Settings) -> Scripts | None:
    """None without LITEMAAS_REDIS_URL: then limits have no state, and calls no rate limit."""
    if settings.redis_url is None:
        return None
    url = settings.redis_url.get_secret_value()
    scripts = connect(url, (*SCRIPTS, CALL_RATE), timeout_s=2.0, tls=settings.tls("redis"))
    await scripts.open()
    return scripts
