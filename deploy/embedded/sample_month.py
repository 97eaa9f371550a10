"""`make demo SAMPLE=1`: an organisation and a month of its made-up calls, so that pages have something to show.

Accounts, subscriptions, keys and limits are made through the admin API; calls are rows that go through a journal and
the ledger's own writer, as a gateway's do, priced by the models' prices. Then the ledger and the limits are checked.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx2

from deploy.embedded.postgres import APP
from deploy.embedded.processes import NotStarted
from gateway.domain.calls import Ending, Usage
from gateway.domain.ids import uuid7
from gateway.domain.prices import PRICE_COLUMNS, Price, cost_nano_usd, price_of
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import new_pool

if TYPE_CHECKING:
    from deploy.embedded.demo import Demo

DAYS: Final = 30
CALLS: Final = 6_000
TIMEOUT_S: Final = 60.0
CHAT, LARGE, VENDOR, EMBEDDING = "demo-chat", "demo-chat-large", "vendor/demo-chat", "demo-embedding"
# Of a day's calls by the hour, UTC: office hours, and a little at night.
HOURS: Final = (1, 1, 1, 1, 1, 2, 4, 10, 18, 22, 24, 22, 14, 20, 24, 22, 18, 10, 6, 4, 3, 2, 2, 1)
# Of a week, from Monday.
WEEKDAYS: Final = (10, 11, 11, 10, 8, 2, 2)


@dataclass(frozen=True, slots=True)
class Person:
    """A user to be made; `share` is of all calls, `team` also has a key of theirs."""

    name: str
    email: str
    team: str | None
    models: Sequence[str]
    share: int


# Of a hundred calls.
ENDINGS: Final[Mapping[Ending, int]] = {"completed": 97, "client_disconnected": 2, "upstream_error": 1}
SELECT_MODELS: Final = f"""
SELECT DISTINCT ON (m.id) m.id AS model_id, m.name, {", ".join(f"p.{name}" for name in PRICE_COLUMNS)}
FROM models m JOIN model_prices p ON p.model_id = m.id ORDER BY m.id, p.effective_at DESC, p.id DESC
"""
Models = Mapping[str, tuple[int, Price]]


PEOPLE: Final = (
    Person("Ana Ruiz", "ana.ruiz@example.com", "Research", (LARGE, CHAT), 24),
    Person("Brigitte Moreau", "brigitte.moreau@example.com", "Research", (LARGE, EMBEDDING), 14),
    Person("Chen Wei", "chen.wei@example.com", "Search", (EMBEDDING, CHAT), 20),
    Person("Daniel Okafor", "daniel.okafor@example.com", "Search", (CHAT,), 9),
    Person("Elif Kaya", "elif.kaya@example.com", "Support", (CHAT, VENDOR), 18),
    Person("Farid Haddad", "farid.haddad@example.com", "Support", (CHAT,), 7),
    Person("Grace Lindqvist", "grace.lindqvist@example.com", None, (VENDOR,), 5),
    Person("Hugo Martins", "hugo.martins@example.com", None, (CHAT,), 3),
)
TEAMS: Final[Mapping[str, str]] = {"Research": "15.00", "Search": "1.50", "Support": "1.00"}


@dataclass(frozen=True, slots=True)
class Key:
    """What a row says of the key that made the call; `subscriptions` are ids by model."""

    id: int
    account_id: int
    user_id: int | None
    models: Sequence[str]
    subscriptions: Mapping[str, int]
    share: int


class Admin:
    """The demo's admin API."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx2.Client(
            base_url=f"{url}/api/v1/",
            headers={"authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """The answer's JSON. Raises NotStarted."""
        answer = self._client.request(method, path, json=body or None)
        if answer.status_code >= 400:
            raise NotStarted(f"The admin API answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._client.close()


def fill(demo: "Demo") -> None:
    """Raises NotStarted if something is refused, or does not agree afterwards."""
    admin = Admin(demo.admin.url, demo.admin_token)
    try:
        keys = make_organisation(admin)
        demo.say(f"{len(PEOPLE)} users in {len(TEAMS)} teams have {len(keys)} keys")
        folder = demo.folder / "sample-journal"
        number = asyncio.run(write_month(demo.postgres.url(APP), folder, keys, datetime.now(UTC)))
        check(demo, admin)
    finally:
        admin.close()
    demo.say(f"{number:,} made-up calls of {DAYS} days are in the ledger, which is whole; limits agree with it")


def make_organisation(admin: Admin) -> list[Key]:
    """Teams with a budget, their members, everybody's subscriptions and keys, and two requests that wait."""
    for person in PEOPLE:
        admin.ask("POST", "users", email=person.email, name=person.name)
    keys = [key for person in PEOPLE for key in _keys_of(admin, person.models, (person,), user=person.email)]
    for team, budget in TEAMS.items():
        members = [person for person in PEOPLE if person.team == team]
        admin.ask("POST", "teams", name=team)
        limit = {"kind": "cost", "window": "month", "amount_usd": budget, "confirm": True}
        admin.ask("PUT", "limits", level="team", id=team, **limit)
        for person in members:
            role = "owner" if person is members[0] else "member"
            admin.ask("POST", f"teams/{team}/members", user=person.email, role=role)
        models = sorted({model for person in members for model in person.models})
        keys += _keys_of(admin, models, members, team=team)
    admin.ask("PATCH", f"models/{quote(VENDOR, safe='')}", restricted=True)
    for person in PEOPLE[:2]:
        admin.ask("POST", "subscriptions", user=person.email, model=VENDOR)
    return keys


def _keys_of(admin: Admin, models: Sequence[str], people: Sequence[Person], **owner: str) -> Iterator[Key]:
    """One of an account for each of these people, with its subscriptions; most work is the teams'."""
    subscriptions = {model: admin.ask("POST", "subscriptions", model=model, **owner)["id"] for model in models}
    is_team = "team" in owner
    for person in people:
        whose = owner | ({"user": person.email} if is_team else {})
        name = "service" if is_team else "notebook"
        made = admin.ask("POST", "api-keys", models=list(person.models), name=name, **whose)
        share = person.share * (3 if is_team else 1)
        yield Key(made["id"], made["account_id"], made["user_id"], person.models, subscriptions, share)


async def write_month(database_url: str, folder: Path, keys: Sequence[Key], until: datetime) -> int:
    """How many calls were written, all before `until`. Raises NotStarted if the ledger has not taken all of them."""
    async with new_pool(database_url, size=2) as pool:
        models = {row["name"]: (int(row["model_id"]), price_of(row)) for row in await pool.fetch(SELECT_MODELS)}
        rows = list(_calls(Random(1), keys, models, until))
        writer = LedgerWriter(pool, folder, max_bytes=2**28, on_late=_nothing)
        writer.open()
        writer.append(rows)
        await writer.write_all()
        await writer.close(TIMEOUT_S)
        ids = [row.request_id for row in rows]
        written = await pool.fetchval("SELECT count(*) FROM usage_logs WHERE request_id = ANY($1)", ids)
    if written != len(rows):
        raise NotStarted(f"Of {len(rows)} made-up calls {written} are in the ledger.")
    return len(rows)


async def _nothing(_: Sequence[UsageRow]) -> None:
    """No call waits for these rows."""


def _calls(random: Random, keys: Sequence[Key], models: Models, until: datetime) -> Iterator[UsageRow]:
    """In no order of time. More of them each week, and few on week-ends."""
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - timedelta(days=back) for back in range(DAYS)]
    weights = [WEEKDAYS[day.weekday()] * (1 - 0.4 * back / DAYS) for back, day in enumerate(days)]
    for number in range(CALLS):
        day = random.choices(days, weights)[0]
        hour = random.choices(range(24), HOURS)[0]
        moment = day + timedelta(hours=hour, milliseconds=random.randrange(3_600_000))
        if moment < until - timedelta(minutes=1):
            key = random.choices(keys, [key.share for key in keys])[0]
            model = random.choices(key.models, range(len(key.models), 0, -1))[0]
            yield _call(random, number, moment, key, model, *models[model])


def _call(random: Random, number: int, moment: datetime, key: Key, model: str, model_id: int, price: Price) -> UsageRow:
    ending: Ending = random.choices(*zip(*ENDINGS.items(), strict=True))[0]
    has_failed = ending == "upstream_error"
    prompt, answer = (
        int(random.lognormvariate(5.6, 0.9)),
        0 if model == EMBEDDING else int(random.lognormvariate(5.0, 0.8)),
    )
    usage = (
        Usage()
        if has_failed
        else Usage(
            prompt_tokens=prompt, completion_tokens=answer, cached_tokens=prompt // 2 if random.random() < 0.2 else 0
        )
    )
    cost = cost_nano_usd(price, usage)
    milliseconds = int(moment.timestamp() * 1000)
    first_ms = None if has_failed else int(random.lognormvariate(5.8, 0.6))
    return UsageRow(
        request_id=uuid7(milliseconds, number.to_bytes(10)),
        started_at=datetime.fromtimestamp(milliseconds / 1000, UTC),
        account_id=key.account_id,
        user_id=key.user_id,
        api_key_id=key.id,
        subscription_id=key.subscriptions[model],
        model_id=model_id,
        model_asked=model,
        endpoint="embeddings" if model == EMBEDDING else "chat_completions",
        streamed=model != EMBEDDING,
        status=502 if has_failed else 200,
        ending=ending,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost_nano_usd=cost,
        price_id=price.id,
        own_cost_nano_usd=cost,
        counted_requests=1,
        counted_tokens=usage.total_tokens,
        counted_nano_usd=cost,
        first_byte_ms=first_ms,
        total_ms=(first_ms or 900) + usage.completion_tokens * 12,
        estimated=False,
        error_code="upstream_error" if has_failed else None,
    )


def check(demo: "Demo", admin: Admin) -> None:
    """Raises NotStarted if the ledger is not whole, or a team's budget says it used something else than was charged."""
    demo.command_line.run("ledger", "verify")
    for team in TEAMS:
        charged = admin.ask("GET", f"usage/summary?team={team}&period=this-month")["cost_nano_usd"]
        states = admin.ask("GET", f"limits/state?team={team}")["rows"]
        budget = next(row for row in states if row["level"] == "team" and row["kind"] == "cost")
        if budget["used_nano_usd"] != charged:
            raise NotStarted(
                f"{team} was charged {charged} nano-USD, and its budget has used {budget['used_nano_usd']}."
            )
