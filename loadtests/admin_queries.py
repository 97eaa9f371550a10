"""The queries of `make admin-bench`: every GET of the OpenAPI document, as an admin and as the owner of a team.

A GET without an entry in ENTRIES, or with a filter without a value in `values_of`, stops the benchmark, so that none is
unmeasured. Each filter is asked alone; one that is a few words (`status`, `level`, …) with each of them.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from loadtests.admin_rows import MODELS
from loadtests.usage_bench import DAYS

if TYPE_CHECKING:
    from gateway.storage.postgres import Connection

Who = Literal["admin", "user"]
Values = Mapping[str, Callable[[], object]]
BOTH: Final[tuple[Who, ...]] = ("admin", "user")
ADMIN: Final[tuple[Who, ...]] = ("admin",)
GET_AIM_MS: Final = 50
USAGE_AIM_MS: Final = 200
VERIFY_AIM_MS: Final = 10_000


class NoEntry(Exception):
    """The document has a GET or a filter without an entry here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a GET is asked. `always` are filters without which it does not answer, or would answer something else;
    `cursor` is a table of ids to go on from; `status` is another answer than 200, where this bench has not what it
    needs; an export is read, not timed. `of_team` are words of `by` that are not asked about everybody."""

    who: tuple[Who, ...] = BOTH
    always: tuple[str, ...] = ()
    cursor: str | None = None
    aim_ms: int = GET_AIM_MS
    status: int = 200
    is_export: bool = False
    of_team: tuple[str, ...] = ()


USAGE: Final = Entry(aim_ms=USAGE_AIM_MS)
ENTRIES: Final[Mapping[str, Entry]] = {
    # There are no users of an identity provider.
    "/api/auth/callback": Entry(status=400),
    "/api/auth/login": Entry(status=404),
    "/api/auth/providers": Entry(),
    "/api/auth/sessions": Entry(),
    "/api/v1/admin/alerts": Entry(who=ADMIN, cursor="alerts"),
    "/api/v1/admin/audit": Entry(who=ADMIN, cursor="audit_logs"),
    "/api/v1/admin/audit/export": Entry(who=ADMIN, is_export=True),
    "/api/v1/admin/deliveries": Entry(who=ADMIN, cursor="deliveries"),
    "/api/v1/admin/health/litellm": Entry(who=ADMIN),
    # Both compute what they show from the ledger's rows of the days.
    "/api/v1/admin/ledger/seals": Entry(who=ADMIN, always=("days",), aim_ms=VERIFY_AIM_MS),
    "/api/v1/admin/ledger/verify": Entry(who=ADMIN, always=("days",), aim_ms=VERIFY_AIM_MS),
    "/api/v1/admin/limit-requests": Entry(who=ADMIN, cursor="limit_requests"),
    "/api/v1/admin/models/syncs": Entry(who=ADMIN, cursor="model_syncs"),
    "/api/v1/admin/provider-keys": Entry(who=ADMIN, cursor="provider_keys"),
    "/api/v1/admin/provider-keys/{provider_key}": Entry(who=ADMIN),
    "/api/v1/admin/settings": Entry(who=ADMIN),
    # What the whole system uses and waits for.
    "/api/v1/admin/system": Entry(who=ADMIN, aim_ms=USAGE_AIM_MS),
    "/api/v1/admin/system/lookup": Entry(who=ADMIN, always=("id",)),
    # A ranking: all teams are read.
    "/api/v1/admin/teams/tightest": Entry(who=ADMIN, aim_ms=USAGE_AIM_MS),
    "/api/v1/alerts": Entry(cursor="alerts"),
    "/api/v1/api-keys": Entry(cursor="api_keys"),
    "/api/v1/api-keys/use-of-today": Entry(cursor="api_keys"),
    "/api/v1/api-keys/{key_id}": Entry(),
    "/api/v1/display": Entry(),
    "/api/v1/limit-requests": Entry(cursor="limit_requests"),
    "/api/v1/limits": Entry(cursor="limits"),
    "/api/v1/limits/explain": Entry(always=("key", "model")),
    "/api/v1/limits/{limit_id}": Entry(),
    "/api/v1/limits/state": Entry(cursor="limits"),
    "/api/v1/model-choices": Entry(),
    "/api/v1/models": Entry(cursor="models"),
    "/api/v1/models/{name}": Entry(),
    "/api/v1/prices": Entry(who=ADMIN, always=("model",), cursor="model_prices"),
    "/api/v1/refusals": Entry(cursor="refusals"),
    "/api/v1/refusals/calls": Entry(cursor="refused_calls"),
    "/api/v1/refusals/report/{by}": Entry(),
    # None is kept there.
    "/api/v1/refusals/{request_id}": Entry(status=404),
    "/api/v1/subscriptions": Entry(cursor="subscriptions"),
    "/api/v1/subscriptions/{subscription_id}": Entry(),
    "/api/v1/teams": Entry(cursor="accounts"),
    "/api/v1/teams/{team}": Entry(),
    "/api/v1/teams/{team}/invitations": Entry(cursor="team_invitations"),
    "/api/v1/teams/{team}/join-requests": Entry(cursor="team_join_requests"),
    "/api/v1/teams/{team}/members": Entry(cursor="users"),
    "/api/v1/teams/{team}/members/{user}": Entry(who=("user",)),
    # There is no ClickHouse.
    "/api/v1/admin/usage-store": Entry(who=ADMIN, status=404),
    "/api/v1/admin/usage-store/verify": Entry(who=ADMIN, always=("days",), status=404),
    "/api/v1/usage": Entry(cursor="usage_logs"),
    "/api/v1/usage/calls/{request_id}": Entry(status=404),
    "/api/v1/usage/breakdown/{by}": Entry(aim_ms=USAGE_AIM_MS, of_team=("key",)),
    "/api/v1/usage/export": Entry(is_export=True),
    "/api/v1/usage/overview/{by}": Entry(aim_ms=USAGE_AIM_MS, of_team=("key",)),
    "/api/v1/usage/percentiles": Entry(aim_ms=USAGE_AIM_MS, of_team=("key", "user", "account", "team")),
    "/api/v1/usage/series": USAGE,
    "/api/v1/usage/summary": USAGE,
    "/api/v1/usage/week": USAGE,
    "/api/v1/users": Entry(who=ADMIN, cursor="users"),
    "/api/v1/users/me": Entry(),
    "/api/v1/users/me/emails": Entry(),
    "/api/v1/users/me/activity": Entry(cursor="audit_logs"),
    "/api/v1/users/me/invitations": Entry(cursor="team_invitations"),
    "/api/v1/users/me/join-requests": Entry(cursor="team_join_requests"),
    "/api/v1/users/me/tokens": Entry(cursor="personal_tokens"),
    "/api/v1/users/{user}": Entry(who=ADMIN),
    "/api/v1/users/{user}/identities": Entry(who=ADMIN, cursor="identities"),
    "/api/v1/users/{user}/invitations": Entry(who=ADMIN, cursor="team_invitations"),
    "/api/v1/users/{user}/sessions": Entry(who=ADMIN),
    "/api/v1/users/{user}/emails": Entry(who=ADMIN),
    "/api/v1/users/{user}/tokens": Entry(who=ADMIN, cursor="personal_tokens"),
    "/api/v1/webhooks": Entry(who=ADMIN, cursor="webhooks"),
    "/api/v1/webhooks/{webhook_id}": Entry(who=ADMIN),
    "/health/live": Entry(),
    "/health/ready": Entry(),
}
# The size of a page, and parameters that do not change the cost.
NOT_ASKED: Final = ("limit", "order", "next", "code", "state", "error", "anchor")
# Each call with another of its words: which one makes no difference to what is read.
ANY_WORD: Final = ("ending", "error_class", "then_by")


@dataclass(frozen=True, slots=True)
class Query:
    """A GET with some of its filters; those in `fixed` have one value, the others another one each time."""

    who: Who
    path: str
    filters: tuple[str, ...]
    fixed: Mapping[str, str]
    entry: Entry

    @property
    def reported(self) -> str:
        """The filters, as named in the table."""
        reported = {name: "" for name in (*self.fixed, *self.filters)} | {
            name: f"={word}" for name, word in self.fixed.items()
        }
        return ", ".join(name + word for name, word in reported.items())

    def ask(self, values: Values) -> tuple[str, dict[str, str]]:
        """A URL and its query, with new values."""

        def value(name: str) -> str:
            return self.fixed.get(name) or str(values[name]())

        return re.sub(r"{(\w+)}", lambda found: value(found[1]), self.path), {n: value(n) for n in self.filters}


def queries_of(document: Mapping[str, Any], values: Values) -> list[Query]:
    """All of them. Raises NoEntry for a GET or a filter that is not listed here, and for one that was removed."""
    gets = {path: methods["get"] for path, methods in document["paths"].items() if "get" in methods}
    if strange := sorted(set(gets) ^ set(ENTRIES)):
        raise NoEntry(f"These GETs are not the same in the document and in loadtests/admin_queries.py: {strange}")
    return [
        Query(who, path, filters, fixed, ENTRIES[path])
        for path, get in sorted(gets.items())
        for filters, fixed in _ways(path, get, values)
        for who in ENTRIES[path].who
    ]


def _ways(path: str, get: Mapping[str, Any], values: Values) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    entry, parameters = ENTRIES[path], {p["name"]: p for p in get.get("parameters", ()) if p["in"] != "header"}
    for name, parameter in parameters.items():
        is_known = name in values or name in NOT_ASKED or _words(parameter) or (name == "cursor" and entry.cursor)
        if not is_known:
            raise NoEntry(f"loadtests/admin_queries.py has no value for '{name}' of {path}.")
    of_path = [_words(p) for p in parameters.values() if p["in"] == "path" and _words(p)]
    paths = [{"by": word} for word in of_path[0]] if of_path else [{}]
    yield from (((*entry.always, *_team(entry, fixed)), fixed) for fixed in paths)
    for name, parameter in parameters.items():
        if parameter["in"] == "path" or name in entry.always or name in NOT_ASKED:
            continue
        for word in ([] if name in ANY_WORD else _words(parameter)) or [""]:
            fixed = paths[0] | ({name: word} if word else {})
            yield (*entry.always, name, *_team(entry, fixed)), fixed


def _team(entry: Entry, fixed: Mapping[str, str]) -> tuple[str, ...]:
    return ("team",) if fixed.get("by") in entry.of_team else ()


def _words(parameter: Mapping[str, Any]) -> list[str]:
    """Those a parameter may be; none if it may be anything."""
    schema = parameter["schema"]
    for one in (schema, schema.get("items", {}), *schema.get("anyOf", ())):
        if "enum" in one:
            return list(map(str, one["enum"]))
        if one.get("type") == "boolean":
            return ["true", "false"]
    return []


async def values_of(connection: "Connection", user_id: int, *, is_admin: bool) -> Values:
    """A value for each filter, another one each time: an admin's over all accounts, a user's over what they may see."""
    pick = random.Random(1)

    async def some(sql: str) -> Callable[[], object]:
        found: Sequence[object] = [row[0] for row in await connection.fetch(sql)]
        if not found:
            raise RuntimeError(f"there are no rows to ask for: {sql}")
        return lambda: pick.choice(found)

    own = "" if is_admin else f"user_id = {user_id} AND "
    emails = "SELECT email FROM users" + ("" if is_admin else f" WHERE id = {user_id}")
    teams = "SELECT a.name FROM accounts a JOIN team_members t ON t.account_id = a.id"
    account = "SELECT id FROM accounts" + ("" if is_admin else f" WHERE owner_user_id = {user_id}")
    keys = f"SELECT id FROM api_keys WHERE {own}id % 101 = (SELECT id % 101 FROM api_keys WHERE {own}true LIMIT 1)"
    heavy = f"SELECT id FROM api_keys WHERE {own}id <= (SELECT count(*) * 10 FROM users)"
    subscriptions = f"SELECT id FROM subscriptions WHERE account_id IN ({account}) LIMIT 5000"
    now = datetime.now(UTC)
    return {
        "user": await some(emails),
        "team": await some(teams if is_admin else f"{teams} WHERE t.user_id = {user_id} AND t.role = 'owner'"),
        "account": await some(account),
        "key": await some(heavy),
        "key_id": await some(keys),
        "subscription_id": await some(subscriptions),
        "limit_id": await some(f"SELECT id FROM limits WHERE account_id IN ({account}) LIMIT 5000"),
        "webhook": await some("SELECT id FROM webhooks"),
        "webhook_id": await some("SELECT id FROM webhooks"),
        "alert": await some("SELECT id FROM alerts LIMIT 5000"),
        "provider_key": await some("SELECT name FROM provider_keys"),
        # The target of a limit: a key.
        "id": await some(keys),
        "model": lambda: f"model-{pick.randint(1, MODELS)}",
        "name": lambda: f"model-{pick.randint(1, MODELS)}",
        "provider": lambda: pick.choice(("openai", "anthropic", "mistral", "vllm")),
        "mode": lambda: "chat",
        "capability": lambda: "vision",
        "ending": lambda: pick.choice(("completed", "client_disconnected", "timeout")),
        "error_class": lambda: pick.choice(("none", "rate_limited", "timeout")),
        # Of all accounts, models are divided by this.
        "then_by": lambda: "ending",
        "search": lambda: f"ser{pick.randint(100, 999)}" if pick.random() < 0.5 else f"model-{pick.randint(1, 99)}",
        "tokens": lambda: 100,
        "days": lambda: 2,
        "period": lambda: pick.choice(("today", "last-month", "last-30-days")),
        "max_tokens": lambda: 100,
        "address": lambda: "10.0.0.7",
        "code": cycle(("insufficient_quota", "team_archived", "model_not_found")).__next__,
        "locale": lambda: pick.choice(("en", "es", "fr")),
        "actor": await some("SELECT DISTINCT actor FROM (SELECT actor FROM audit_logs LIMIT 5000) AS a"),
        # Also missing values, which need a full scan or an index.
        "action": cycle(("key.create", "limit.set", "team.rename")).__next__,
        "about": lambda: f"key:{pick.randint(1, 100_000)}",
        "target_kind": cycle(("key", "limit", "team")).__next__,
        "target_id": lambda: pick.randint(1, 100_000),
        "request_id": await some("SELECT request_id FROM audit_logs ORDER BY at LIMIT 5000"),
        "client_request_id": lambda: f"job-{pick.randint(1, 100_000)}",
        "since": lambda: (now - timedelta(days=DAYS * pick.random())).isoformat(),
        "until": lambda: (now - timedelta(days=DAYS * pick.random())).isoformat(),
        "last_used_before": lambda: (now - timedelta(days=DAYS * pick.random())).isoformat(),
        "last_login_before": lambda: (now - timedelta(days=DAYS * pick.random())).isoformat(),
        "time_zone": lambda: pick.choice(("UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata")),
    }


async def cursors_of(connection: "Connection", table: str) -> Callable[[], object]:
    """Somewhere in a list: an id of its table, of calls a request's id of any time, of refusals a key."""
    pick = random.Random(2)
    if table == "usage_logs":
        now = datetime.now(UTC).timestamp()
        return lambda: UUID(int=int((now - 86400 * DAYS * pick.random()) * 1000) << 80 | 7 << 76 | 2 << 62)
    if table == "refused_calls":
        end = datetime.now(UTC)
        return lambda: f"{(end - timedelta(days=7 * pick.random())).isoformat()}|{UUID(int=pick.getrandbits(128))}"
    if table == "refusals":
        rows = await connection.fetch(
            "SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:00:00\"Z|\"')"
            " || concat_ws('|', account_id, user_id, api_key_id, model_id, limit_id, code) AS found"
            " FROM refusals ORDER BY hour LIMIT 5000"
        )
        return lambda: pick.choice(rows)["found"]
    ends = await connection.fetchrow(f"SELECT min(id) AS first, max(id) AS last FROM {table}")
    if ends is None or ends["first"] is None:
        raise RuntimeError(f"{table} is empty")
    return lambda: pick.randint(ends["first"], ends["last"])
