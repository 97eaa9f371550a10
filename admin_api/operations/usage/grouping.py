"""What the reports of usage share: the scope within one snapshot, and sums by one thing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from admin_api.operations.actors import Actor
from admin_api.operations.usage.scope import Scope, UsageFilter, resolve
from admin_api.operations.validation import invalid
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage import queries
from admin_api.storage.usage.queries import Order, UsageSums, weight_of
from admin_api.storage.usage.readers import UsageReader, UsageStore
from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, tables_for
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

By = Literal["model", "provider", "key", "user", "account", "team", "ending", "error_class"]
BY: Final = get_args(By)
ORDERS: Final = get_args(Order)
ALL_MODELS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Common fields of all reports: the period, rounded to quarters of an hour, and the time zone of its steps."""

    since: datetime
    until: datetime
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`id` is None for calls without one (no known provider, no user); `name` is None if it was deleted."""

    id: str | None
    name: str | None
    sums: UsageSums


@asynccontextmanager
async def open_scope(
    pool: "Pool", actor: Actor, query: UsageFilter, *by: str | None, store: UsageStore
) -> AsyncIterator[tuple[UsageReader, Scope]]:
    """What reads sums, in a transaction with one snapshot, so that all sums of a report are consistent, and the scope
    of the query."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if not scope.sees_people and {"user", "key"} & set(by):
            raise GatewayError("forbidden", "Only the owners of a team can see the usage of its members.")
        await connection.execute(queries.PREPARE)
        yield await store.reader(connection), scope


def tables_of(scope: Scope, by: str | None = None) -> RollupTables:
    """Those that have the answer. Raises GatewayError `validation_failed` if none has it for all accounts."""
    tables = tables_for(scope.selection, grouped_by(by))
    if tables is None:
        raise needs_account(by or "")
    return tables


def grouped_by(by: str | None) -> GroupedBy | None:
    """What rollups are grouped by for it: they know models, not providers."""
    return "model" if by == "provider" else by  # type: ignore[return-value]  # checked


def needs_account(by: str) -> GatewayError:
    """Why the question has no answer for all accounts."""
    if by == "key":
        return invalid("by", "By key also needs a team or a user.")
    return invalid("by", f"By {by} with these filters also needs a team or a user. Or leave the filters out.")


async def find_groups(
    reader: UsageReader, scope: Scope, tables: RollupTables, by: str, order: str, limit: int
) -> tuple[list[Group], int, UsageSums]:
    """The largest groups, how many there are, and the total."""
    maximum = ALL_MODELS if by == "provider" else limit
    found = await reader.sum_by(scope.selection, tables, grouped_by(by), order=order, limit=maximum)  # type: ignore[arg-type]
    if by != "provider":
        names = await usage_names.name_all(reader.executor, by, [one for one, _ in found.rows if one != "0"])
        rows = [Group(id=id_of(one), name=name_of(by, one, names), sums=sums) for one, sums in found.rows]
        return rows, found.number, found.total
    providers = await usage_names.list_providers(reader.executor)
    sums: dict[str | None, UsageSums] = {}
    for model, one in found.rows:
        provider = providers.get(model)
        sums[provider] = sums.get(provider, UsageSums()) + one
    groups = [Group(id=provider, name=provider, sums=one) for provider, one in sums.items()]
    groups.sort(key=lambda group: (-weight_of(group.sums, order), group.id or ""))  # type: ignore[arg-type]  # checked
    return groups[:limit], len(groups), found.total


def id_of(one: str) -> str | None:
    """Rollups have 0 for no user."""
    return None if one == "0" else one


def name_of(by: str, one: str, names: Mapping[str, str]) -> str | None:
    """Words are their own names."""
    return one if by in ("ending", "error_class") else names.get(one)


def report_fields(scope: Scope) -> dict[str, Any]:
    """Of a Report."""
    return {"since": scope.selection.start, "until": scope.selection.end, "time_zone": str(scope.zone)}
