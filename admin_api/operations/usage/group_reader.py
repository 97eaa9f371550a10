"""Reads more of groups that were found: over time, before, and what each consists of. Within these groups only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from admin_api.operations.usage.grouping import (
    ALL_MODELS,
    Group,
    find_groups,
    grouped_by,
    id_of,
    name_of,
    tables_of,
)
from admin_api.operations.usage.scope import Scope
from admin_api.operations.validation import invalid
from admin_api.storage.usage import divisions
from admin_api.storage.usage import names as usage_names
from admin_api.storage.usage.divisions import Part
from admin_api.storage.usage.queries import Order, UsageSums, weight_of
from admin_api.storage.usage.readers import UsageReader
from admin_api.storage.usage.rollup_tables import GroupedBy, Selection, tables_for_parts

# Of each group.
MAX_PARTS: Final = 5
Divided = dict[str | None, tuple[list[Group], int]]


@dataclass(frozen=True, slots=True)
class GroupReader:
    """`by` and `order` are words that were checked; groups of models are providers, or models."""

    source: UsageReader
    scope: Scope
    by: str
    order: Order
    found: Sequence[Group]
    # Of each model.
    providers: Mapping[str, str | None]

    @classmethod
    async def of(cls, source: UsageReader, scope: Scope, by: str, order: str, found: Sequence[Group]) -> Self:
        """For these groups."""
        providers = await usage_names.list_providers(source.executor)
        return cls(source, scope, by, order, found, providers)  # type: ignore[arg-type]  # checked

    @property
    def _column(self) -> GroupedBy:
        return grouped_by(self.by) or "model"

    async def read_points(self, bounds: Sequence[datetime]) -> dict[str | None, list[UsageSums]]:
        """For each group a sum for each two neighbouring bounds; a group without calls has none."""
        scope = await self._narrow(self.scope.selection)
        found = await self.source.sum_groups_by_time(scope.selection, tables_of(scope, self.by), self._column, bounds)
        merged: dict[str | None, list[UsageSums]] = {}
        for one, points in found.items():
            group = self._group_of(one)
            known = merged.get(group)
            merged[group] = points if known is None else [a + b for a, b in zip(known, points, strict=True)]
        return merged

    async def read_sums(self, selection: Selection) -> dict[str | None, UsageSums]:
        """For each group its sums of other calls."""
        scope = await self._narrow(selection)
        tables = tables_of(scope, self.by)
        found, _, _ = await find_groups(self.source, scope, tables, self.by, self.order, ALL_MODELS)
        return {one.id: one.sums for one in found}

    async def read_parts(self, then_by: str) -> Divided:
        """For each group its largest parts, and how many it has. Raises GatewayError `validation_failed` if no rollup
        has them for all accounts."""
        selection = (await self._narrow(self.scope.selection)).selection
        part_by = grouped_by(then_by) or "model"
        tables = tables_for_parts(selection, self._column, part_by)
        if tables is None:
            raise invalid("then_by", f"By {self.by} and then by {then_by} also needs a team or a user.")
        # Models of a provider are added up here, and only then are parts large or small.
        is_merged = "provider" in (self.by, then_by)
        limit = ALL_MODELS if is_merged else MAX_PARTS
        found = await self.source.sum_parts(selection, tables, self._column, part_by, order=self.order, limit=limit)
        sums = self._merge(found, then_by)
        names = await self._name_parts(sums, then_by)
        numbers = {self._group_of(one.group): one.number for one in found}
        divided: Divided = {}
        for group, own in sums.items():
            rows = [Group(id=one, name=names.get(one or ""), sums=its) for one, its in own.items()]
            rows.sort(key=lambda row: -weight_of(row.sums, self.order))
            divided[group] = (rows[:MAX_PARTS], len(own) if is_merged else numbers[group])
        return divided

    async def _narrow(self, selection: Selection) -> Scope:
        ids = [one.id or "0" for one in self.found]
        if self.by == "provider":
            shown, wanted = {one.id for one in self.found}, selection.model_ids
            own = [model for model, provider in self.providers.items() if provider in shown]
            ids = [model for model in own if wanted is None or int(model) in wanted]
        return replace(self.scope, selection=await divisions.narrow(self.source.executor, selection, self._column, ids))

    def _group_of(self, one: str) -> str | None:
        return self.providers.get(one) if self.by == "provider" else id_of(one)

    def _merge(self, found: Sequence[Part], then_by: str) -> dict[str | None, dict[str | None, UsageSums]]:
        sums: dict[str | None, dict[str | None, UsageSums]] = {}
        for one in found:
            own = sums.setdefault(self._group_of(one.group), {})
            part = self.providers.get(one.part) if then_by == "provider" else id_of(one.part)
            own[part] = own.get(part, UsageSums()) + one.sums
        return sums

    async def _name_parts(
        self, sums: Mapping[str | None, Mapping[str | None, UsageSums]], then_by: str
    ) -> dict[str, str | None]:
        ids = sorted({part for own in sums.values() for part in own if part is not None})
        names = await usage_names.name_all(self.source.executor, then_by, ids)
        return {one: one if then_by == "provider" else name_of(then_by, one, names) for one in ids}
