"""Value lists of CHECK constraints equal those of the Literals in the code."""

import re
from typing import get_args

import asyncpg
import pytest
from conftest import Database

from admin_api.storage import accounts, api_keys, deliveries, limit_requests, sessions, users, webhooks
from admin_api.storage import prices as stored_prices
from gateway.domain import calls, limits, prices, roles, subscriptions, windows
from gateway.storage.ledger import corrections

WORDS = {
    ("users", "role"): roles.ROLES,
    ("users", "status"): users.USER_STATUSES,
    ("users", "assigned_role"): roles.ROLES,
    ("users", "group_role"): roles.ROLES,
    ("users", "locale"): users.LOCALES,
    ("sessions", "provider"): sessions.PROVIDERS,
    ("personal_tokens", "role"): roles.ROLES,
    ("accounts", "kind"): accounts.ACCOUNT_KINDS,
    ("accounts", "status"): accounts.ACCOUNT_STATUSES,
    ("team_members", "role"): roles.TEAM_ROLES,
    ("team_invitations", "role"): roles.TEAM_ROLES,
    ("model_prices", "source"): stored_prices.PRICE_SOURCES,
    ("model_prices", "charge"): get_args(prices.Charge),
    ("subscriptions", "status"): subscriptions.STATUSES,
    ("api_keys", "kind"): api_keys.KEY_KINDS,
    ("limits", "level"): limits.LEVELS,
    ("limits", "kind"): limits.KINDS,
    ("limits", "window_kind"): windows.WINDOW_KINDS,
    ("limits", "reserve"): get_args(limits.ReserveMode),
    ("limits", "set_by"): get_args(limits.SetBy),
    ("limit_requests", "status"): limit_requests.REQUEST_STATUSES,
    ("webhooks", "format"): webhooks.FORMATS,
    ("deliveries", "channel"): tuple(deliveries.RECEIVERS),
    ("alerts", "level"): limits.LEVELS,
    ("alerts", "kind"): limits.WINDOWED_KINDS,
    ("alerts", "window_kind"): windows.WINDOW_KINDS,
    ("ledger_corrections", "reason"): get_args(corrections.Reason),
    ("usage_logs", "ending"): calls.ENDINGS,
    ("usage_logs", "estimated_why"): get_args(calls.EstimatedWhy),
}

LIST_CHECKS = """
SELECT c.conrelid::regclass::text AS relation, a.attname AS column_name, pg_get_constraintdef(c.oid) AS definition
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'c' AND cardinality(c.conkey) = 1 AND c.connamespace = current_schema()::regnamespace
"""


async def read_word_lists(database: Database) -> dict[tuple[str, str], set[str]]:
    connection = await asyncpg.connect(database.owner_url)
    rows = await connection.fetch(LIST_CHECKS)
    await connection.close()
    return {
        (row["relation"], row["column_name"]): set(re.findall(r"'([^']*)'::text", row["definition"]))
        for row in rows
        # Of words: of numbers nothing is found.
        if re.search(r"= ANY \(ARRAY\['[^']*'::text", row["definition"])
    }


async def test_every_value_list_of_the_schema_equals_its_literal(database: Database) -> None:
    in_schema = await read_word_lists(database)
    in_schema = {place: words for place, words in in_schema.items() if not place[0].startswith("usage_logs_2")}

    assert in_schema == {place: set(words) for place, words in WORDS.items()}


async def test_the_windowed_kinds_are_those_that_need_a_window(database: Database) -> None:
    connection = await asyncpg.connect(database.owner_url)
    account = await connection.fetchval("INSERT INTO accounts (kind, name) VALUES ('team', 't') RETURNING id")
    insert = "INSERT INTO limits (account_id, level, kind, window_kind, amount) VALUES ($1, 'team', $2, $3, 1)"

    for kind in limits.KINDS:
        is_windowed = kind in limits.WINDOWED_KINDS
        await connection.execute(insert, account, kind, "month" if is_windowed else None)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(insert, account, kind, None if is_windowed else "month")

    await connection.close()
