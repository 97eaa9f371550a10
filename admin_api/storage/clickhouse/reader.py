"""Answers usage questions from ClickHouse, with the sums that the rollups of Postgres have."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from admin_api.storage.clickhouse.entries import TABLE
from admin_api.storage.usage.divisions import Part, WeekHour
from admin_api.storage.usage.queries import (
    ORDERS_SQL,
    SUM_NAMES,
    Groups,
    LatencyCounts,
    Order,
    UsageSums,
)
from admin_api.storage.usage.range_selects import GROUP_COLUMNS
from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, Selection
from gateway.storage.ledger.rollups import COUNT_BITS, FIRST_BYTE

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from admin_api.storage.clickhouse.link import ClickHouse
    from gateway.storage.postgres import Executor

LIST_TEAMS: Final = """
SELECT id FROM accounts WHERE kind = 'team'
"""
_NAMES: Final = ", ".join(SUM_NAMES)
# The name of a sum is that of what is added up: without the table's name, ClickHouse would take the sum for it.
_ADDED: Final = ", ".join(f"sum(e.{name}) AS {name}" for name in SUM_NAMES)
_ANY: Final = " OR ".join(f"{name} <> 0" for name in SUM_NAMES)


@dataclass(slots=True)
class Conditions:
    """What is selected, as SQL, and its values by name."""

    sql: str
    values: dict[str, Any]


def conditions_of(
    selection: Selection, team_ids: Sequence[int] | None = None, *, is_open: bool | None = None
) -> Conditions:
    """Of all entries in the selection; `team_ids`: only those of these accounts; `is_open` in place of its own."""
    values: dict[str, Any] = {"start": int(selection.start.timestamp()), "end": int(selection.end.timestamp())}
    found = ["quarter >= toDateTime({start:Int64}, 'UTC')"]
    # No call began after an open end, so what began since it was asked counts too, as in the rollups.
    if not (selection.is_open if is_open is None else is_open):
        found.append("quarter < toDateTime({end:Int64}, 'UTC')")
    for column, wanted, kind in (
        ("account_id", selection.account_ids, "Int64"),
        ("user_id", selection.user_ids, "Int64"),
        ("api_key_id", selection.key_ids, "Int64"),
        ("model_id", selection.model_ids, "Int64"),
        ("ending", selection.endings, "String"),
        ("error_class", selection.error_classes, "String"),
    ):
        if wanted is not None:
            values[column] = list(wanted)
            found.append(f"{column} IN {{{column}:Array({kind})}}")
    if team_ids is not None:
        values["teams"] = list(team_ids)
        found.append("account_id IN {teams:Array(Int64)}")
    return Conditions(" AND ".join(found), values)


def ask_sums(where: str) -> str:
    """All in one."""
    return f"SELECT {_ADDED} FROM {TABLE} AS e WHERE {where}"


def ask_steps(where: str, group: str | None = None) -> str:
    """By step, whose bounds are the parameter `bounds`, and by group."""
    grp, by = (f", toString({group}) AS grp", ", grp") if group else ("", "")
    # Quarters are added up first: they are fewer than calls.
    step = "toInt64(roundDown(toInt64(toUnixTimestamp(e.quarter)), {bounds:Array(Int64)}))"
    return (
        f"SELECT {step} AS step{by}, {_ADDED} "
        f"FROM (SELECT quarter{grp}, {_ADDED} FROM {TABLE} AS e WHERE {where} GROUP BY quarter{by}) AS e "
        f"GROUP BY step{by} HAVING {_ANY}"
    )


def ask_groups(where: str, group: str, order: Order) -> str:
    """The `most` largest groups, in order."""
    return (
        f"SELECT toString(grp) AS name, {_NAMES}, count() OVER () AS number FROM (SELECT {group} AS grp, {_ADDED} "
        f"FROM {TABLE} AS e WHERE {where} GROUP BY grp HAVING {_ANY}) "
        f"ORDER BY {ORDERS_SQL[order]} DESC, calls DESC, grp LIMIT {{most:Int64}}"
    )


def ask_parts(where: str, group: str, part: str, order: Order) -> str:
    """The `most` largest parts of each group."""
    return (
        f"SELECT toString(grp) AS name, toString(part) AS part_name, number, {_NAMES} FROM ("
        f"SELECT grp, part, {_NAMES}, count() OVER (PARTITION BY grp) AS number, row_number() OVER (PARTITION BY grp "
        f"ORDER BY {ORDERS_SQL[order]} DESC, calls DESC, part) AS place FROM (SELECT {group} AS grp, {part} AS part, "
        f"{_ADDED} FROM {TABLE} AS e WHERE {where} GROUP BY grp, part HAVING {_ANY})) "
        f"WHERE place <= {{most:Int64}} ORDER BY grp, place"
    )


def ask_week(where: str) -> str:
    """By day of the week, Monday is 1, and hour, of the time zone in the parameter `zone`."""
    return (
        f"SELECT toDayOfWeek(e.quarter, 0, {{zone:String}}) AS weekday, toHour(e.quarter, {{zone:String}}) AS hour, "
        f"{_ADDED} FROM {TABLE} AS e WHERE {where} GROUP BY weekday, hour"
    )


def ask_latencies(where: str, group: str | None) -> str:
    """Calls by group and code of a bucket."""
    grp = f"toString({group})" if group else "''"
    return (
        f"SELECT {grp} AS name, bitShiftRight(latency, {COUNT_BITS}) AS code, "
        f"sum(bitAnd(latency, {(1 << COUNT_BITS) - 1})) AS number FROM {TABLE} ARRAY JOIN latencies AS latency "
        f"WHERE {where} GROUP BY name, code HAVING number <> 0"
    )


@dataclass(slots=True)
class ClickHouseReader:
    """Reads entries, whatever tables Postgres would answer from. Each raises ClickHouseFailed."""

    executor: "Executor"
    clickhouse: "ClickHouse"

    async def sum_up(self, selection: Selection, tables: RollupTables) -> UsageSums:
        """As RollupReader."""
        where = conditions_of(selection)
        rows = await self.clickhouse.answer(ask_sums(where.sql), where.values)
        return _sums_of(rows[0]) if rows else UsageSums()

    async def sum_by_time(
        self, selection: Selection, tables: RollupTables, bounds: Sequence[datetime]
    ) -> list[UsageSums]:
        """As RollupReader."""
        where = conditions_of(selection)
        rows = await self.clickhouse.answer(ask_steps(where.sql), where.values | _bounds(bounds))
        sums = {row["step"]: _sums_of(row) for row in rows}
        return [sums.get(int(start.timestamp()), UsageSums()) for start, _ in pairwise(bounds)]

    async def sum_by(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, *, order: Order, limit: int
    ) -> Groups:
        """As RollupReader."""
        where = await self._where(selection, by)
        sql = ask_groups(where.sql, GROUP_COLUMNS[by], order)
        rows = await self.clickhouse.answer(sql, where.values | {"most": limit})
        (total,) = await self.clickhouse.answer(ask_sums(where.sql), where.values)
        groups = [(row["name"], _sums_of(row)) for row in rows]
        return Groups(groups, _sums_of(total), rows[0]["number"] if rows else 0)

    async def count_latencies(
        self, selection: Selection, tables: RollupTables, by: GroupedBy | None = None
    ) -> dict[str | None, LatencyCounts]:
        """As RollupReader."""
        where = await self._where(selection, by)
        rows = await self.clickhouse.answer(ask_latencies(where.sql, by and GROUP_COLUMNS[by]), where.values)
        counts: defaultdict[str | None, LatencyCounts] = defaultdict(lambda: LatencyCounts(Counter(), Counter()))
        for row in rows:
            measure, bucket = divmod(row["code"], FIRST_BYTE)
            counts[row["name"] if by else None][measure][bucket] += row["number"]
        return dict(counts)

    async def sum_groups_by_time(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, bounds: Sequence[datetime]
    ) -> dict[str, list[UsageSums]]:
        """As RollupReader."""
        where = await self._where(selection, by)
        sql = ask_steps(where.sql, GROUP_COLUMNS[by])
        number = {int(start.timestamp()): step for step, (start, _) in enumerate(pairwise(bounds))}
        series: dict[str, list[UsageSums]] = {}
        for row in await self.clickhouse.answer(sql, where.values | _bounds(bounds)):
            points = series.setdefault(row["grp"], [UsageSums()] * (len(bounds) - 1))
            points[number[row["step"]]] = _sums_of(row)
        return series

    async def sum_parts(
        self,
        selection: Selection,
        tables: RollupTables,
        by: GroupedBy,
        then_by: GroupedBy,
        *,
        order: Order,
        limit: int,
    ) -> list[Part]:
        """As RollupReader."""
        where = await self._where(selection, by)
        sql = ask_parts(where.sql, GROUP_COLUMNS[by], GROUP_COLUMNS[then_by], order)
        rows = await self.clickhouse.answer(sql, where.values | {"most": limit})
        return [Part(row["name"], row["part_name"], _sums_of(row), row["number"]) for row in rows]

    async def sum_by_week_hour(self, selection: Selection, tables: RollupTables, zone: "ZoneInfo") -> list[WeekHour]:
        """As RollupReader."""
        where = conditions_of(selection, is_open=False)
        rows = await self.clickhouse.answer(ask_week(where.sql), where.values | {"zone": str(zone)})
        sums = {(row["weekday"], row["hour"]): _sums_of(row) for row in rows}
        return [
            WeekHour(weekday, hour, sums.get((weekday, hour), UsageSums()))
            for weekday in range(1, 8)
            for hour in range(24)
        ]

    async def _where(self, selection: Selection, by: GroupedBy | None) -> Conditions:
        if by != "team":
            return conditions_of(selection)
        return conditions_of(selection, [row["id"] for row in await self.executor.fetch(LIST_TEAMS)])


def _bounds(bounds: Sequence[datetime]) -> dict[str, Any]:
    return {"bounds": [int(one.timestamp()) for one in bounds[:-1]]}


def _sums_of(row: Mapping[str, Any]) -> UsageSums:
    return UsageSums(**{name: row[name] for name in SUM_NAMES})
