"""Reports of model syncs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSync:
    """One sync. `problem` None: all is well; `report` None: LiteLLM gave no answer that could be read."""

    id: int
    at: datetime
    actor: str
    problem: str | None
    report: Mapping[str, Any] | None


INSERT_SYNC: Final = """
INSERT INTO model_syncs (actor, problem, report) VALUES ($1, $2, $3::jsonb)
"""


async def insert_sync(
    executor: "Executor", *, actor: str, problem: str | None, report: Mapping[str, Any] | None
) -> None:
    """One row a sync."""
    await executor.execute(INSERT_SYNC, actor, problem, None if report is None else json.dumps(dict(report)))


LIST_SYNCS: Final = """
SELECT id, at, actor, problem, report::text FROM model_syncs WHERE id < $1 ORDER BY id DESC LIMIT $2
"""


async def list_syncs(executor: "Executor", *, before_id: int, limit: int) -> list[ModelSync]:
    """Newest first, those before `before_id`."""
    rows = await executor.fetch(LIST_SYNCS, before_id, limit)
    return [ModelSync(**(dict(row) | {"report": json.loads(row["report"] or "null")})) for row in rows]


FIND_LAST_SYNCS: Final = """
SELECT max(at) AS tried_at, max(at) FILTER (WHERE report IS NOT NULL) AS answered_at FROM model_syncs
"""


async def find_last_syncs(executor: "Executor") -> tuple[datetime | None, datetime | None]:
    """When it was tried last, and when LiteLLM last answered."""
    row = await executor.fetchrow(FIND_LAST_SYNCS)
    if row is None:
        raise RuntimeError("an aggregate always has a row")
    return row["tried_at"], row["answered_at"]


DELETE_OLD_SYNCS: Final = """
DELETE FROM model_syncs WHERE at < $1
"""


async def delete_old_syncs(executor: "Executor", before: datetime) -> None:
    """Reports of long ago."""
    await executor.execute(DELETE_OLD_SYNCS, before)
