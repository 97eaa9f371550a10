"""Families of rollups that answer usage queries, each of several grains; docs/usage.md says which answers which.

`WITHIN` an account, `ALL` calls in one, all accounts `TOGETHER` by what was called and how it ended, or each account
and user: `EACH`, `EACH_BY_MODEL` of some models, `EACH_FAILED` of calls that failed. Of accounts that are named also
`OF_ACCOUNTS` and `OF_ACCOUNTS_BY_MODEL`, for a large one has hundreds of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from gateway.domain.calls import Ending
from gateway.domain.error_classes import ERROR_CLASSES, ErrorClass
from gateway.domain.rollup_ranges import Grain

GroupedBy = Literal["model", "key", "user", "account", "team", "ending", "error_class"]


class Table(NamedTuple):
    """A rollup, or the ledger, and what it calls time and model. `model` of all models together is 0 in a rollup that
    has that too; it is None in one that has nothing else. `error_class` is SQL for that of the row `r`.

    `by_unit`: its key has the time before the account, so that the accounts are looked up at each of its times.
    `each_model`: of a rollup with all models together, the others are read."""

    name: str
    time: str
    model: str | None = "model_id"
    error_class: str = "r.error_class"
    by_unit: bool = False
    each_model: bool = False


# Rows of calls do not hold their error class.
OF_CALL: Final = "error_class(r.ending, r.status, r.error_code, r.estimated_why)"


RollupTables = dict[Grain, Table]
WITHIN: Final[RollupTables] = {
    "day": Table("usage_days", "day"),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
ALL: Final[RollupTables] = {
    "day": Table("usage_all_days", "day", None),
    "quarter": Table("usage_all_quarter_hours", "started_at", None),
}
TOGETHER: Final[RollupTables] = {
    "day": Table("usage_model_days", "day"),
    "quarter": Table("usage_model_quarter_hours", "started_at"),
}
EACH: Final[RollupTables] = {
    "month": Table("usage_account_months", "month", "model"),
    "ten_days": Table("usage_account_ten_days", "ten_days", None),
    "day": Table("usage_account_days", "day", "model"),
    "six_hours": Table("usage_account_six_hours", "started_at", None),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
EACH_BY_MODEL: Final[RollupTables] = {
    "month": Table("usage_account_months", "month", "model"),
    "day": Table("usage_account_days", "day", "model"),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
EACH_FAILED: Final[RollupTables] = {
    "month": Table("usage_failed_months", "month", "model"),
    "day": Table("usage_failed_days", "day", "model"),
    "quarter": Table("usage_quarter_hours", "started_at"),
}
OF_ACCOUNTS: Final[RollupTables] = {
    grain: table if grain == "quarter" else table._replace(by_unit=True) for grain, table in EACH.items()
}
OF_ACCOUNTS_BY_MODEL: Final[RollupTables] = {
    "month": EACH_BY_MODEL["month"]._replace(by_unit=True, each_model=True),
    **WITHIN,
}
# Those of each account and user have sums, but no latencies.
OF_EACH: Final = (EACH, EACH_BY_MODEL, EACH_FAILED)
OWNERS: Final = ("user", "account", "team")
# The models of a rollup whose key begins with them, by one look each: a list of all models may lack some that were
# deleted, and a condition that they are not 0 reads the whole index before Postgres 18.
_MODELS_OF: Final = """
r.model = ANY(ARRAY(
    WITH RECURSIVE found (model) AS (
        (SELECT model FROM {table} WHERE model > 0 ORDER BY model LIMIT 1)
        UNION ALL
        SELECT (SELECT t.model FROM {table} t WHERE t.model > found.model ORDER BY t.model LIMIT 1)
        FROM found WHERE found.model IS NOT NULL
    ) SELECT model FROM found WHERE model IS NOT NULL))"""
# Rollups with an index of failed calls only.
WITH_FAILED_APART: Final = ("usage_days", "usage_quarter_hours")
# Those whose index has the class of an error before the time: to use it, a query names the classes it means.
WITH_CLASSES_FIRST: Final = ("usage_quarter_hours", "usage_failed_days", "usage_failed_months")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which calls: from `start` up to `end`, both in UTC on a quarter of an hour; None does not select.

    `is_open`: no call began after `end` yet.
    """

    start: datetime
    end: datetime
    is_open: bool = False
    account_ids: Sequence[int] | None = None
    user_ids: Sequence[int] | None = None
    key_ids: Sequence[int] | None = None
    model_ids: Sequence[int] | None = None
    endings: Sequence[Ending] | None = None
    error_classes: Sequence[ErrorClass] | None = None

    @property
    def is_of_failures(self) -> bool:
        """Whether no completed call can be among them."""
        by_class = self.error_classes is not None and "none" not in self.error_classes
        return by_class or (self.endings is not None and "completed" not in self.endings)


def tables_for(selection: Selection, by: GroupedBy | None = None) -> RollupTables | None:
    """The smallest that has the answer; None: none has, so an account has to be named."""
    is_of_all_endings = selection.endings is None and selection.error_classes is None
    if selection.account_ids is not None:
        if not is_of_all_endings or selection.key_ids is not None or by not in (None, "model", *OWNERS):
            return WITHIN
        return OF_ACCOUNTS if by != "model" and selection.model_ids is None else OF_ACCOUNTS_BY_MODEL
    if selection.user_ids is not None or selection.key_ids is not None or by == "key":
        return None
    if by not in OWNERS:
        return ALL if by is None and is_of_all_endings and selection.model_ids is None else TOGETHER
    if not is_of_all_endings:
        return EACH_FAILED if selection.is_of_failures else None
    return EACH if selection.model_ids is None else EACH_BY_MODEL


def tables_with_latencies(selection: Selection, by: GroupedBy | None = None) -> RollupTables | None:
    """As `tables_for`, but only one that has latencies. Failed calls are few enough to be read within each account."""
    if selection.account_ids is not None:
        return WITHIN
    tables = tables_for(selection, by)
    if tables is EACH_FAILED:
        return WITHIN
    return None if tables in OF_EACH else tables


def tables_for_parts(selection: Selection, by: GroupedBy, then_by: GroupedBy) -> RollupTables | None:
    """As `tables_for`, of those that have both; None: none has them for all accounts."""
    known = (tables_for(selection, by), tables_for(selection, then_by))
    if selection.account_ids is None:
        return TOGETHER if all(each is TOGETHER for each in known) else None
    return next(one for one in (WITHIN, OF_ACCOUNTS_BY_MODEL, OF_ACCOUNTS) if any(one is each for each in known))


def conditions_of(selection: Selection, table: Table, by: GroupedBy | None, arguments: list[Any]) -> str:
    """SQL for what is selected of `r`, beginning with AND; its values are added to `arguments`."""
    found = []
    is_of_failures = selection.account_ids is None and selection.is_of_failures
    classes = selection.error_classes
    if classes is None and is_of_failures and table.name in WITH_CLASSES_FIRST:
        classes = [one for one in ERROR_CLASSES if one != "none"]
    for column, wanted, kind in (
        ("r.account_id", selection.account_ids, "bigint"),
        ("r.user_id", selection.user_ids, "bigint"),
        ("r.api_key_id", selection.key_ids, "bigint"),
        (f"r.{table.model}", selection.model_ids, "bigint"),
        ("r.ending", selection.endings, "text"),
        (table.error_class, classes, "text"),
    ):
        if wanted is not None:
            arguments.append(list(wanted))
            found.append(f"{column} = ANY(${len(arguments)}::{kind}[])")
    if table.model == "model" and selection.model_ids is None:
        found.append(_MODELS_OF.format(table=table.name) if table.each_model else "r.model = 0")
    if is_of_failures and table.name in WITH_FAILED_APART:
        found.append("r.error_class <> 'none'")
    if by == "team":
        found.append("r.account_id IN (SELECT id FROM accounts WHERE kind = 'team')")
    return "".join(f" AND {condition}" for condition in found)
