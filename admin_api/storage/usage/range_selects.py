"""Selects the rows of ranges of time from a family of rollups, each range by an index."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

from admin_api.storage.usage.rollup_tables import GroupedBy, RollupTables, Selection, Table, conditions_of
from gateway.domain.rollup_ranges import Grain, Range, units_of

# Ranges of a kind that have a SELECT each. A sum has no more, the steps of a series may have a thousand.
MAX_SELECTS: Final = 4
GROUP_COLUMNS: Final[dict[GroupedBy, str]] = {
    "model": "model_id",
    "key": "api_key_id",
    "user": "user_id",
    "account": "account_id",
    "team": "account_id",
    "ending": "ending",
    "error_class": "error_class",
}


class Query(NamedTuple):
    """A statement and its arguments."""

    sql: str
    arguments: list[Any]


class _Source(NamedTuple):
    """What every range of one rollup shares: its columns by name, and SQL of where they are from."""

    table: Table
    columns: Mapping[str, str]
    rows: str
    conditions: str

    @property
    def inner(self) -> str:
        return ", ".join(f"{column} AS {name}" for name, column in self.columns.items())

    @property
    def kind(self) -> str:
        return "timestamptz" if self.table.time == "started_at" else "date"

    def bound(self, moment: datetime) -> datetime | date:
        return moment.date() if self.kind == "date" else moment


def select_ranges(
    selection: Selection,
    tables: RollupTables,
    ranges: Sequence[Range],
    by: GroupedBy | None,
    made: Callable[[str], dict[str, str]],
    more: str = "",
    then_by: GroupedBy | None = None,
) -> Query:
    """The rows of the ranges, with the columns that `made` gives, negative in ranges that are subtracted; `grp` is the
    group by `by`, `part` that by `then_by`.

    Each range is looked up by an index of its own. Where there are many, they are in one SELECT whose OFFSET 0 sees to
    that: joined to them, all of a table may be read, for Postgres guesses that a bound holds for a third of its rows.
    Of a table `by_unit` each day or month is one range.
    """
    arguments: list[Any] = []
    selects = []
    for (grain, sign), some in groupby(sorted(ranges, key=_kind), key=_kind):
        own, table = list(some), tables[grain]
        columns = made("-" if sign < 0 else "")
        columns |= {name: _column(one, table) for name, one in (("grp", by), ("part", then_by)) if one}
        conditions = conditions_of(selection, table, by, arguments)
        source = _Source(table, columns, f"{table.name} AS r{more}", conditions)
        if len(own) <= MAX_SELECTS:
            selects += [_select_one(source, one, arguments) for one in own]
        else:
            selects.append(_select_many(source, own, arguments))
    return Query(" UNION ALL ".join(selects), arguments)


def _select_one(source: _Source, range_: Range, arguments: list[Any]) -> str:
    table, kind, n = source.table, source.kind, len(arguments)
    if table.by_unit:
        arguments += [range_.bucket, [source.bound(start) for start in units_of(range_)]]
        within = f"r.{table.time} = ANY(${n + 2}::{kind}[])"
    else:
        arguments += [range_.bucket, source.bound(range_.start), source.bound(range_.end)]
        within = f"r.{table.time} >= ${n + 2}::{kind} AND r.{table.time} < ${n + 3}::{kind}"
    return f"SELECT ${n + 1}::int AS bucket, {source.inner} FROM {source.rows} WHERE {within}{source.conditions}"


def _select_many(source: _Source, ranges: Sequence[Range], arguments: list[Any]) -> str:
    table, kind, n = source.table, source.kind, len(arguments)
    within = f"r.{table.time} >= p.start AND r.{table.time} < p.until"
    if table.by_unit:
        ranges = [one._replace(start=start) for one in ranges for start in units_of(one)]
        within = f"r.{table.time} = p.start"
    bounds = ((source.bound(one.start), source.bound(one.end), one.bucket) for one in ranges)
    arguments += map(list, zip(*bounds, strict=True))
    return (
        f"SELECT p.bucket, {', '.join(f'part.{name}' for name in source.columns)} "
        f"FROM unnest(${n + 1}::{kind}[], ${n + 2}::{kind}[], ${n + 3}::int[]) AS p (start, until, bucket) "
        f"CROSS JOIN LATERAL (SELECT {source.inner} FROM {source.rows} WHERE {within}{source.conditions} OFFSET 0) "
        f"AS part"
    )


def _column(by: GroupedBy, table: Table) -> str:
    return f"r.{table.model if by == 'model' else GROUP_COLUMNS[by]}"


def _kind(range_: Range) -> tuple[Grain, int]:
    return range_.grain, range_.sign
