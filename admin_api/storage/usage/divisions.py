"""Queries the rollups for sums of groups by one thing more: by time, by a second group, or by the hour of the week."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from admin_api.storage.usage.queries import (
    ANY_SUM,
    ORDERS_SQL,
    SUM_COLUMNS,
    SUM_NAMES,
    Order,
    UsageSums,
    cut_buckets,
    fetch,
    sum_columns,
    sums_of,
    whole_of,
)
from admin_api.storage.usage.range_selects import Query, select_ranges
from admin_api.storage.usage.rollup_tables import (
    ALL,
    GroupedBy,
    RollupTables,
    Selection,
    conditions_of,
)

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from gateway.storage.postgres import Executor

_NAMES: Final = ", ".join(SUM_NAMES)


class Part(NamedTuple):
    """Sums of one part of a group; both are named by id or word, as text. `number` is how many parts the group has."""

    group: str
    part: str
    sums: UsageSums
    number: int


class WeekHour(NamedTuple):
    """Sums of one hour of one day of the week: `weekday` is 1 for Monday, `hour` from 0 to 23."""

    weekday: int
    hour: int
    sums: UsageSums


def ask_group_series(selection: Selection, tables: RollupTables, by: GroupedBy, bounds: Sequence[datetime]) -> Query:
    """Sums by bucket between two bounds and by group; what had no call has no line."""
    found = select_ranges(selection, tables, cut_buckets(selection, tables, bounds), by, sum_columns)
    sql = (
        f"SELECT bucket, grp::text AS grp, {SUM_COLUMNS} FROM ({found.sql}) AS found GROUP BY bucket, grp "
        f"HAVING {ANY_SUM}"
    )
    return Query(sql, found.arguments)


async def sum_groups_by_time(
    executor: "Executor", selection: Selection, tables: RollupTables, by: GroupedBy, bounds: Sequence[datetime]
) -> dict[str, list[UsageSums]]:
    """For each group a sum for each two neighbouring bounds, of which the first is the selection's start and the last
    its end."""
    series: dict[str, list[UsageSums]] = {}
    for row in await fetch(executor, ask_group_series(selection, tables, by, bounds)):
        points = series.setdefault(row["grp"], [UsageSums()] * (len(bounds) - 1))
        points[row["bucket"]] = sums_of(row)
    return series


def ask_parts(
    selection: Selection, tables: RollupTables, by: GroupedBy, then_by: GroupedBy, order: Order, limit: int
) -> Query:
    """The `limit` greatest parts of each group, of tables by `tables_for_parts`."""
    ranges = whole_of(selection, tables)
    found = select_ranges(selection, tables, ranges, by, sum_columns, then_by=then_by)
    arguments = [*found.arguments, limit]
    sql = (
        f"WITH parts AS MATERIALIZED (SELECT grp, part, {SUM_COLUMNS} FROM ({found.sql}) AS found GROUP BY grp, part "
        f"HAVING {ANY_SUM}), ranked AS (SELECT grp, part, {_NAMES}, count(*) OVER (PARTITION BY grp) AS number, "
        f"row_number() OVER (PARTITION BY grp ORDER BY {ORDERS_SQL[order]} DESC, calls DESC, part) AS place FROM parts)"
        f" SELECT grp::text AS grp, part::text AS part, number, {_NAMES} FROM ranked WHERE place <= ${len(arguments)} "
        f"ORDER BY grp, place"
    )
    return Query(sql, arguments)


async def sum_parts(
    executor: "Executor",
    selection: Selection,
    tables: RollupTables,
    by: GroupedBy,
    then_by: GroupedBy,
    *,
    order: Order,
    limit: int,
) -> list[Part]:
    """The greatest parts of each group, the greatest first."""
    rows = await fetch(executor, ask_parts(selection, tables, by, then_by, order, limit))
    return [Part(row["grp"], row["part"], sums_of(row), row["number"]) for row in rows]


def ask_week(selection: Selection, tables: RollupTables, zone: "ZoneInfo") -> Query:
    """Sums by day of the week and hour of the time zone: each quarter of an hour is in one of them, in any zone."""
    table = tables["quarter"]
    arguments: list[object] = [selection.start, selection.end, str(zone)]
    conditions = conditions_of(selection, table, None, arguments)
    local = f"r.{table.time} AT TIME ZONE $3"
    rows = f"{table.name} AS r WHERE r.{table.time} >= $1 AND r.{table.time} < $2{conditions}"
    if table is not ALL["quarter"]:
        # Of a large team a quarter has many rows: what hour it is, is asked once.
        columns = ", ".join(f"usage_sum(r.{name}) AS {name}" for name in SUM_NAMES)
        rows = f"(SELECT r.{table.time}, {columns} FROM {rows} GROUP BY r.{table.time}) AS r"
    sql = (
        f"SELECT extract(isodow FROM {local})::int AS weekday, extract(hour FROM {local})::int AS hour, {SUM_COLUMNS} "
        f"FROM {rows} GROUP BY 1, 2"
    )
    return Query(sql, arguments)


async def sum_by_week_hour(
    executor: "Executor", selection: Selection, tables: RollupTables, zone: "ZoneInfo"
) -> list[WeekHour]:
    """All 168 hours, from Monday's first on."""
    rows = await fetch(executor, ask_week(selection, tables, zone))
    sums = {(row["weekday"], row["hour"]): sums_of(row) for row in rows}
    none = UsageSums()
    return [WeekHour(weekday, hour, sums.get((weekday, hour), none)) for weekday in range(1, 8) for hour in range(24)]


LIST_ACCOUNTS_OF_USERS: Final = """
SELECT id FROM accounts WHERE owner_user_id = ANY($1::bigint[])
UNION SELECT account_id FROM api_keys WHERE user_id = ANY($1::bigint[])
UNION SELECT account_id FROM api_keys WHERE user_id IS NULL AND 0 = ANY($1::bigint[])
ORDER BY id
"""


async def narrow(executor: "Executor", selection: Selection, by: GroupedBy, groups: Sequence[str]) -> Selection:
    """Only these groups. Where all accounts were selected, those that the groups may have calls in are, so that the
    answer is read within them."""
    if by == "ending":
        return replace(selection, endings=list(groups))  # type: ignore[arg-type]  # of the rollups
    if by == "error_class":
        return replace(selection, error_classes=list(groups))  # type: ignore[arg-type]
    ids = [int(one) for one in groups]
    if by == "model":
        return replace(selection, model_ids=ids)
    if by == "key":
        return replace(selection, key_ids=ids)
    if by != "user":
        return replace(selection, account_ids=ids)
    if selection.account_ids is not None:
        return replace(selection, user_ids=ids)
    rows = await executor.fetch(LIST_ACCOUNTS_OF_USERS, ids)
    return replace(selection, user_ids=ids, account_ids=[row["id"] for row in rows])
