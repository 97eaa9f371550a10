"""How many calls were refused, over time and by one thing."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from admin_api.storage.usage.rollup_tables import Selection, Table, conditions_of

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

RefusalsBy = Literal["code", "model", "key", "user", "account"]
COLUMNS: Final[dict[RefusalsBy, str]] = {
    "code": "code",
    "model": "model_id",
    "key": "api_key_id",
    "user": "user_id",
    "account": "account_id",
}
_OF_KEYS: Final = Table("refusals", "hour")
# Of all accounts: of each hour there is a row for each code and model, and not for each key.
_OF_ALL: Final = Table("refusal_hours", "hour")


class RefusalSums(NamedTuple):
    """By bucket of time: all, and of the greatest groups, by id or code as text. `number` is how many groups there
    are."""

    total: list[int]
    groups: dict[str, list[int]]
    number: int


def ask_refusal_sums(
    selection: Selection, bounds: Sequence[datetime], by: RefusalsBy, *, code: str | None, limit: int
) -> tuple[str, list[Any]]:
    """The statement and its arguments. An hour counts where it begins. `grp` is null for what is in no great group."""
    arguments: list[Any] = [list(bounds), limit, selection.start, selection.end]
    table = _table_for(selection, by)
    conditions = conditions_of(selection, table, None, arguments)
    if code is not None:
        arguments.append(code)
        conditions += f" AND r.code = ${len(arguments)}"
    # What step an hour is in is asked once, and not for each of its refusals.
    sql = (
        f"WITH found AS MATERIALIZED (SELECT width_bucket(h.hour, $1::timestamptz[]) - 1 AS bucket, h.grp, "
        f"usage_sum(h.count) AS count FROM (SELECT r.hour, r.{COLUMNS[by]} AS grp, usage_sum(r.count) AS count "
        f"FROM {table.name} AS r WHERE r.hour >= $3 AND r.hour < $4{conditions} GROUP BY 1, 2) AS h GROUP BY 1, 2), "
        f"groups AS MATERIALIZED (SELECT grp, usage_sum(count) AS count FROM found GROUP BY grp), "
        f"greatest AS MATERIALIZED (SELECT grp FROM groups ORDER BY count DESC, grp LIMIT $2) "
        f"SELECT f.bucket, g.grp::text AS grp, usage_sum(f.count) AS count, (SELECT count(*) FROM groups) AS number "
        f"FROM found f LEFT JOIN greatest g ON g.grp = f.grp GROUP BY f.bucket, g.grp"
    )
    return sql, arguments


def _table_for(selection: Selection, by: RefusalsBy) -> Table:
    people = (selection.account_ids, selection.user_ids, selection.key_ids)
    return _OF_ALL if by in ("code", "model") and all(ids is None for ids in people) else _OF_KEYS


async def sum_refusals(
    executor: "Executor",
    selection: Selection,
    bounds: Sequence[datetime],
    by: RefusalsBy,
    *,
    code: str | None,
    limit: int,
) -> RefusalSums:
    """Between each two neighbouring bounds."""
    sql, arguments = ask_refusal_sums(selection, bounds, by, code=code, limit=limit)
    steps = len(bounds) - 1
    found = RefusalSums([0] * steps, {}, 0)
    for row in await executor.fetch(sql, *arguments):
        found.total[row["bucket"]] += row["count"]
        if row["grp"] is not None:
            found.groups.setdefault(row["grp"], [0] * steps)[row["bucket"]] = row["count"]
        found = found._replace(number=row["number"])
    return found
