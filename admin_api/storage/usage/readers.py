"""Where the sums of usage questions are read from: the rollups of Postgres, or a store that is fed from the ledger.

A question is checked, and its accounts and names are looked up, in Postgres either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from admin_api.storage.usage import divisions, queries
from admin_api.storage.usage.divisions import Part, WeekHour
from admin_api.storage.usage.queries import Groups, LatencyCounts, Order, UsageSums
from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, Selection

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from gateway.storage.postgres import Executor


class UsageReader(Protocol):
    """Reads sums, within one transaction of `executor`. `tables` are the rollups that have the answer."""

    @property
    def executor(self) -> "Executor":
        """Postgres, for names."""

    async def sum_up(self, selection: Selection, tables: RollupTables) -> UsageSums:
        """All of it."""

    async def sum_by_time(
        self, selection: Selection, tables: RollupTables, bounds: Sequence[datetime]
    ) -> list[UsageSums]:
        """A sum for each two neighbouring bounds, of which the first is the selection's start and the last its end."""

    async def sum_by(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, *, order: Order, limit: int
    ) -> Groups:
        """The greatest groups first."""

    async def count_latencies(
        self, selection: Selection, tables: RollupTables, by: GroupedBy | None = None
    ) -> dict[str | None, LatencyCounts]:
        """By group; by None without one."""

    async def sum_groups_by_time(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, bounds: Sequence[datetime]
    ) -> dict[str, list[UsageSums]]:
        """For each group a sum for each two neighbouring bounds."""

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
        """The greatest parts of each group, the greatest first."""

    async def sum_by_week_hour(self, selection: Selection, tables: RollupTables, zone: "ZoneInfo") -> list[WeekHour]:
        """All 168 hours, from Monday's first on."""


class UsageStore(Protocol):
    """Something that usage questions are answered from."""

    async def reader(self, executor: "Executor") -> UsageReader:
        """For questions of the transaction that is open; its sums are of one moment."""


@dataclass(frozen=True, slots=True)
class RollupReader:
    """Reads the rollups of Postgres."""

    executor: "Executor"

    async def sum_up(self, selection: Selection, tables: RollupTables) -> UsageSums:
        """As UsageReader; so are the others."""
        return await queries.sum_up(self.executor, selection, tables)

    async def sum_by_time(
        self, selection: Selection, tables: RollupTables, bounds: Sequence[datetime]
    ) -> list[UsageSums]:
        return await queries.sum_by_time(self.executor, selection, tables, bounds)

    async def sum_by(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, *, order: Order, limit: int
    ) -> Groups:
        await self.executor.execute(queries.IN_ONE_PROCESS)
        return await queries.sum_by(self.executor, selection, tables, by, order=order, limit=limit)

    async def count_latencies(
        self, selection: Selection, tables: RollupTables, by: GroupedBy | None = None
    ) -> dict[str | None, LatencyCounts]:
        return await queries.count_latencies(self.executor, selection, tables, by)

    async def sum_groups_by_time(
        self, selection: Selection, tables: RollupTables, by: GroupedBy, bounds: Sequence[datetime]
    ) -> dict[str, list[UsageSums]]:
        return await divisions.sum_groups_by_time(self.executor, selection, tables, by, bounds)

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
        return await divisions.sum_parts(self.executor, selection, tables, by, then_by, order=order, limit=limit)

    async def sum_by_week_hour(self, selection: Selection, tables: RollupTables, zone: "ZoneInfo") -> list[WeekHour]:
        return await divisions.sum_by_week_hour(self.executor, selection, tables, zone)


class Rollups:
    """The rollups, which every installation has."""

    async def reader(self, executor: "Executor") -> UsageReader:
        """Of one snapshot, if the transaction has one."""
        return RollupReader(executor)


ROLLUPS: Final[UsageStore] = Rollups()
