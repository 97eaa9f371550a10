"""Lists of limits: pages of all, of an account or of what a viewer may see; and those of members of teams."""

from typing import TYPE_CHECKING, Final

from admin_api.storage.limits import LIMIT_COLUMNS, NAMES_OF_LIMIT, LimitRow
from gateway.domain.limits import Level

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# A viewer's are a page of each account that they may see, however many limits it has, and of them the first page. An
# account is BETWEEN itself and itself, and first in the order: were it known to be one, the order would be that of the
# ids alone, and the planner would read all accounts' limits until it has enough of this one's. Names are looked up for
# the page alone.
_SELECTED: Final = """
    o.id > $1 AND ($3::text IS NULL OR o.level = $3)
    AND ($4::bigint IS NULL OR o.api_key_id = $4 OR o.subscription_id = $4 OR o.user_id = $4
         OR (o.level = 'team' AND o.account_id = $4))
"""
# The same, where an index of something else has found the few there are: that of accounts and levels, read beside it,
# would be read for a whole team.
_SELECTED_OF_FEW: Final = _SELECTED.replace("o.level = $3", "o.level || '' = $3")
# Of the account of `t`. Ordered by account first, so that they are read in the order of an index, which ends at a page.
_FIRST_OF_ACCOUNT: Final = f"""
    o.account_id BETWEEN t.account_id AND t.account_id AND {_SELECTED} ORDER BY o.account_id, o.id LIMIT $6
"""
LIST_LIMITS: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM (
    SELECT l.id, l.account_id, l.level, l.api_key_id, l.model_id, l.subscription_id, l.user_id, l.kind, l.window_kind,
           l.amount, l.burst, l.reserve, l.shadow, l.set_by, l.expires_at, l.reason, l.created_at, l.updated_at
    FROM limits l
    WHERE l.id > $1 AND ($2::bigint IS NULL OR $5::bigint IS NOT NULL OR l.account_id BETWEEN $2 AND $2)
      AND ($3::text IS NULL OR l.level = $3)
      AND ($4::bigint IS NULL OR l.api_key_id = $4 OR l.subscription_id = $4 OR l.user_id = $4
           OR (l.level = 'team' AND l.account_id = $4))
      AND ($5::bigint IS NULL OR l.id = ANY(ARRAY(
          SELECT theirs.id FROM (
              SELECT a.id AS account_id FROM accounts a WHERE a.owner_user_id = $5
              UNION ALL SELECT t.account_id FROM team_members t WHERE t.user_id = $5 AND t.role = 'owner') AS t
          CROSS JOIN LATERAL (SELECT o.id FROM limits o WHERE {_FIRST_OF_ACCOUNT}) AS theirs
          WHERE $2::bigint IS NULL OR t.account_id = $2
          UNION ALL
          SELECT shown.id FROM team_members t CROSS JOIN LATERAL (
              (SELECT o.id FROM limits o WHERE o.level = 'team' AND {_FIRST_OF_ACCOUNT})
              UNION ALL (SELECT o.id FROM limits o WHERE o.level = 'subscription' AND {_FIRST_OF_ACCOUNT})
              UNION ALL SELECT o.id FROM limits o
                  WHERE o.user_id = $5 AND o.account_id + 0 = t.account_id AND {_SELECTED_OF_FEW}
              UNION ALL SELECT o.id FROM api_keys k JOIN limits o ON o.api_key_id = k.id
                  WHERE k.user_id = $5 AND k.account_id = t.account_id AND {_SELECTED}) AS shown
          WHERE t.user_id = $5 AND t.role <> 'owner' AND ($2::bigint IS NULL OR t.account_id = $2))))
    ORDER BY CASE WHEN $2::bigint IS NULL OR $5::bigint IS NOT NULL THEN 0 ELSE l.account_id END, l.id LIMIT $6
) AS l {NAMES_OF_LIMIT}
ORDER BY l.id
"""


async def list_limits(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    account_id: int | None = None,
    level: Level | None = None,
    target_id: int | None = None,
    viewer_id: int | None = None,
) -> list[LimitRow]:
    """By id, those after `after_id`. `target_id` is the id that a limit of its level is set on. For a viewer, those of
    their account and of teams they own; of teams they are in, the team's and their own."""
    rows = await executor.fetch(LIST_LIMITS, after_id, account_id, level, target_id, viewer_id, limit)
    return [LimitRow(**row) for row in rows]


LIST_LIMITS_OF_MEMBERS: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM limits l {NAMES_OF_LIMIT}
WHERE l.user_id = ANY($2::bigint[]) AND l.account_id + 0 = $1 AND l.level || '' = 'user' ORDER BY l.id
"""


async def list_limits_of_members(executor: "Executor", account_id: int, user_ids: list[int]) -> list[LimitRow]:
    """What of an account each of these users may use. By the index of users, for a team may have thousands of them."""
    return [LimitRow(**row) for row in await executor.fetch(LIST_LIMITS_OF_MEMBERS, account_id, user_ids)]


LIST_LIMITS_IN_TEAMS: Final = f"""
SELECT {LIMIT_COLUMNS}
FROM (
    SELECT theirs.id FROM unnest($1::bigint[]) AS t (account_id) CROSS JOIN LATERAL (
        SELECT o.id FROM limits o
        WHERE o.account_id BETWEEN t.account_id AND t.account_id AND o.level = 'team'
        ORDER BY o.account_id, o.level, o.id LIMIT $3) AS theirs
    UNION ALL
    SELECT o.id FROM limits o
    WHERE o.user_id = $2 AND o.account_id = ANY($1::bigint[]) AND o.level || '' = 'user'
) AS found JOIN limits l ON l.id = found.id {NAMES_OF_LIMIT}
ORDER BY l.id
"""


async def list_limits_in_teams(
    executor: "Executor", team_ids: list[int], *, user_id: int, limit: int
) -> list[LimitRow]:
    """What a member of these teams may use in them: limits of each team as a whole, `limit` at most, and their own."""
    return [LimitRow(**row) for row in await executor.fetch(LIST_LIMITS_IN_TEAMS, team_ids, user_id, limit)]
