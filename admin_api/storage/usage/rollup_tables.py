"""Families of rollups that answer usage queries, each of several grains; docs/usage.md says which answers which.

`WITHIN` an account, `ALL` calls in one, all accounts `TOGETHER` by what was called and how it ended, or each account
and user: `EACH`, `EACH_BY_MODEL` of some models, `EACH_FAILED` of calls that failed.
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
    has that too; it is None in one that has nothing else. `error_class` is SQL for that of the row `r`."""

    name: str
    time: str
    model: str | None = "model_id"
    error_class: str = "r.error_class"


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
# Those of each account and user have sums, but no latencies.
OF_EACH: Final = (EACH, EACH_BY_MODEL, EACH_FAILED)
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
    if selection.account_ids is not None:
        return WITHIN
    if selection.user_ids is not None or selection.key_ids is not None or by == "key":
        return None
    is_of_all_endings = selection.endings is None and selection.error_classes is None
    if by not in ("user", "account", "team"):
        return ALL if by is None and is_of_all_endings and selection.model_ids is None else TOGETHER
    if not is_of_all_endings:
        return EACH_FAILED if selection.is_of_failures else None
    return EACH if selection.model_ids is None else EACH_BY_MODEL


def tables_with_latencies(selection: Selection, by: GroupedBy | None = None) -> RollupTables | None:
    """As `tables_for`, but only one that has latencies. Failed calls are few enough to be read within each account."""
    tables = tables_for(selection, by)
    if tables is EACH_FAILED:
        return WITHIN
    return None if tables in OF_EACH else tables


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
        found.append("r.model = 0")
    if is_of_failures and table.name in WITH_FAILED_APART:
        found.append("r.error_class <> 'none'")
    if by == "team":
        found.append("r.account_id IN (SELECT id FROM accounts WHERE kind = 'team')")
    return "".join(f" AND {condition}" for condition in found)
