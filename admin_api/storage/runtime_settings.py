"""What admins set at run time: one row an entry, absent at its default."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

LIST_SETTINGS: Final = """
SELECT name, value::text AS value FROM settings
"""


async def list_settings(executor: "Executor") -> dict[str, Any]:
    """Name -> value of all that was ever set."""
    return {row["name"]: json.loads(row["value"]) for row in await executor.fetch(LIST_SETTINGS)}


LOCK_SETTINGS: Final = "LOCK TABLE settings IN SHARE ROW EXCLUSIVE MODE"


async def lock_settings(executor: "Executor") -> None:
    """Lets one transaction at a time change them; reading goes on."""
    await executor.execute(LOCK_SETTINGS)


UPSERT_SETTINGS: Final = """
INSERT INTO settings (name, value) SELECT key, value FROM jsonb_each($1::jsonb)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = now()
"""


async def upsert_settings(executor: "Executor", values: Mapping[str, Any]) -> None:
    """Sets these; all others stay."""
    await executor.execute(UPSERT_SETTINGS, json.dumps(dict(values)))
