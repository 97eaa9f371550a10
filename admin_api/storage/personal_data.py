"""How an anonymised user's names and addresses go from the columns that `personal_columns.py` lists."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from admin_api.storage.personal_columns import COLUMNS, JSON_COLUMNS, Rewritten

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# All rows of the largest table are read, in each of these statements.
TIMEOUT_S: Final = 600.0


def rewriting(column: str, rule: Rewritten) -> str:
    """The statement: $1 the user's id, $2 and $3 the patterns, $4 what stands instead, $5 what is likely a name."""
    table, name = column.split(".")
    text, cast = (f"{name}::text", "::jsonb") if column in JSON_COLUMNS else (name, "")
    new = f"without_names({text}, $2, $3, {rule.own}, $4){cast}"
    found = f"({rule.own} OR names_someone({text}, $5, $2)) AND {name} <> {new}"
    return f"UPDATE {table} SET {name} = {new} WHERE {found}"  # noqa: S608  names of COLUMNS


REWRITE: Final = {column: rewriting(column, rule) for column, rule in COLUMNS.items() if isinstance(rule, Rewritten)}

# What is deleted or emptied: $1 is the user's id, $2 who does it.
ERASE: Final = {
    "sessions": "DELETE FROM sessions WHERE user_id = $1",
    "identities": "DELETE FROM identities WHERE user_id = $1",
    "messages": "DELETE FROM deliveries WHERE user_id = $1",
    "refused_calls": "DELETE FROM refused_calls WHERE user_id = $1",
    "invitations": "DELETE FROM team_invitations WHERE user_id = $1 OR invited_by = $1",
    "join_requests": "DELETE FROM team_join_requests WHERE user_id = $1",
    "limit_requests": """
        UPDATE limit_requests SET reason = '…', answer = NULL,
            status = CASE status WHEN 'pending' THEN 'withdrawn' ELSE status END,
            decided_at = coalesce(decided_at, now())
        WHERE user_id = $1
    """,
    "teams": "DELETE FROM team_members WHERE user_id = $1",
    "tokens": "UPDATE personal_tokens SET name = '', revoked_at = coalesce(revoked_at, now()) WHERE user_id = $1",
    "keys": """
        UPDATE api_keys SET name = '', allowed_ips = '{}', revoked_at = coalesce(revoked_at, now()), updated_at = now()
        WHERE user_id = $1
    """,
    "subscriptions": """
        WITH open AS (
            SELECT s.id, s.status FROM subscriptions s JOIN accounts a ON a.id = s.account_id
            WHERE a.owner_user_id = $1 AND s.status IN ('pending', 'active', 'denied', 'suspended') FOR UPDATE OF s
        ), ended AS (
            UPDATE subscriptions s SET status = 'cancelled', reason = NULL, cancelled_active = false, updated_at = now()
            FROM open WHERE s.id = open.id
        )
        INSERT INTO subscription_history (subscription_id, from_status, to_status, actor)
        SELECT id, status, 'cancelled', $2 FROM open
    """,
    "user": """
        WITH erased AS (
            UPDATE users SET email = anonymised_name(id), name = '', known_as = '{}', locale = NULL, role = 'user',
                assigned_role = 'user', group_role = NULL, status = 'deactivated', status_reason = NULL,
                anonymised_at = now(), updated_at = clock_timestamp()
            WHERE id = $1 RETURNING id, email
        )
        UPDATE accounts a SET name = erased.email FROM erased WHERE a.owner_user_id = erased.id
    """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """Regular expressions of Postgres that find the user's names, in text and in JSON (0047 says what is `sure`);
    `names` are those that are sure."""

    sure: str
    every: str
    sure_json: str
    every_json: str
    likes: list[str]
    instead: str
    names: tuple[str, ...]


FIND_PATTERNS: Final = """
SELECT p.sure, p.every, p.sure_json, p.every_json, p.likes, anonymised_name($1) AS instead,
    ARRAY(SELECT n.name FROM names_of_user($1) AS n WHERE n.sure) AS names
FROM name_patterns($1) AS p
"""


async def find_patterns(executor: "Executor", user_id: int) -> Patterns:
    """Of a user who is not anonymised yet."""
    row: Any = await executor.fetchrow(FIND_PATTERNS, user_id)
    return Patterns(**{**row, "names": tuple(row["names"])})


async def rewrite(executor: "Executor", user_id: int, patterns: Patterns) -> int:
    """Replaces the user's names in all columns of the kind; how many values."""
    count = 0
    p = patterns
    for column, statement in REWRITE.items():
        sure, every = (p.sure_json, p.every_json) if column in JSON_COLUMNS else (p.sure, p.every)
        done = await executor.execute(statement, user_id, sure, every, p.instead, p.likes, timeout=TIMEOUT_S)
        count += _count(done)
    return count


async def erase(executor: "Executor", user_id: int, *, by: str) -> dict[str, int]:
    """Deletes and empties what is the user's; how many rows of each."""
    counts = {}
    for what, statement in ERASE.items():
        values = (user_id, by) if "$2" in statement else (user_id,)
        counts[what] = _count(await executor.execute(statement, *values, timeout=TIMEOUT_S))
    return counts


ERASE_ADDED: Final = """
SELECT rows, encode(digest, 'hex') AS digest FROM erase_names_of_user($1)
"""


async def erase_added(executor: "Executor", user_id: int) -> tuple[int, str]:
    """Takes the user's names out of audit rows and the history of subscriptions. Returns the number of audit rows, and
    the digest over what is left of them, for the audit row of the act."""
    row: Any = await executor.fetchrow(ERASE_ADDED, user_id, timeout=TIMEOUT_S)
    return row["rows"], row["digest"]


LAST_ANONYMISED: Final = """
SELECT max(anonymised_at) FROM users
"""


async def last_anonymised(executor: "Executor") -> Any:
    """When a user was last anonymised; None: never."""
    return await executor.fetchval(LAST_ANONYMISED)


def _count(tag: str) -> int:
    """Of `UPDATE 3`."""
    return int(tag.rsplit(" ", 1)[1])
