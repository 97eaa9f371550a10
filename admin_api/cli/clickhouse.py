"""Commands that need ClickHouse, or may be answered from it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from admin_api import settings as environment
from admin_api.cli.session import act
from admin_api.operations.validation import invalid

if TYPE_CHECKING:
    from admin_api.storage.clickhouse.link import ClickHouse
    from admin_api.storage.usage.readers import UsageStore
    from gateway.storage.postgres import Pool

T = TypeVar("T")


def ask(work: "Callable[[Pool, UsageStore], Awaitable[T]]") -> T:
    """Runs one usage question, on what the settings say it is answered from."""
    from admin_api.storage.clickhouse.link import new_clickhouse
    from admin_api.storage.clickhouse.store import store_of

    settings = environment.ClickHouseSettings.from_env()

    async def run(pool: "Pool") -> T:
        url = settings.clickhouse_url if settings.clickhouse_answers else None
        clickhouse = new_clickhouse(url, settings.clickhouse_ca_file)
        try:
            return await work(pool, store_of(clickhouse, max_lag_s=settings.clickhouse_max_lag_s))
        finally:
            if clickhouse is not None:
                await clickhouse.close()

    return act(run, settings)


def act_on_clickhouse(work: "Callable[[Pool, ClickHouse], Awaitable[T]]") -> T:
    """Runs one operation on Postgres and ClickHouse. Raises GatewayError `validation_failed` if the settings name
    none."""
    from admin_api.storage.clickhouse.link import new_clickhouse

    settings = environment.ClickHouseSettings.from_env()

    async def run(pool: "Pool") -> T:
        clickhouse = new_clickhouse(settings.clickhouse_url, settings.clickhouse_ca_file)
        if clickhouse is None:
            raise invalid("clickhouse_url", "There is no ClickHouse: LITEMAAS_CLICKHOUSE_URL is not set.")
        try:
            return await work(pool, clickhouse)
        finally:
            await clickhouse.close()

    return act(run, settings)
