"""Random states of a key: its user, team, subscription, model, limits and past use, made in bulk."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Final

import asyncpg
from callers import CHAT
from factories import PEPPERS
from usage_rows import make_usage_row, write_rows

from gateway.domain.estimates import LETTER_WEIGHT, TOKENS_PER_MESSAGE
from gateway.domain.keys import new_key
from gateway.domain.limits import BUCKET_KINDS, WINDOWED_KINDS
from gateway.domain.subscriptions import STATUSES
from gateway.storage.postgres import Pool

HERE, ELSEWHERE = "127.0.0.0/8", "10.0.0.0/8"
ABSENT = "a2-absent"
UNKNOWN = "a2-never-existed"
# Name: mode, the most tokens of an answer, prices of input and output, unusable price fields, enabled, listed.
MODELS: Final[dict[str, tuple[str, int | None, str | None, str | None, list[str] | None, bool, bool]]] = {
    "a2-usual": ("chat", 4096, "0.000001", "0.000002", None, True, True),
    "a2-dear": ("chat", 4096, "0.01", "0.02", None, True, True),
    "a2-unpriced": ("chat", 4096, None, None, None, True, True),
    "a2-any-length": ("chat", None, "0.000001", "0.000002", None, True, True),
    "a2-unusable-price": ("chat", 4096, "0.000001", "0.000002", ["input_cost_per_odd"], True, True),
    "a2-disabled": ("chat", 4096, "0.000001", "0.000002", None, False, True),
    "a2-unlisted": ("chat", 4096, "0.000001", "0.000002", None, True, False),
    "a2-gone": ("chat", 4096, "0.000001", "0.000002", None, False, False),
    "a2-embedding": ("embedding", None, "0.000001", None, None, True, True),
    "a2-image": ("image_generation", None, None, None, None, True, True),
    ABSENT: ("chat", 4096, "0.000001", "0.000002", None, True, True),
}
WEIGHTS: Final = (12, 2, 2, 5, 4, 1, 1, 1, 2, 1)
IDS: Final = {name: number for number, name in enumerate(MODELS, 1)}
AMOUNTS: Final = {
    "rpm": (0, 1, 1000), "tpm": (0, 100, 3000, 10**6), "concurrency": (0, 1, 10), "requests": (0, 1, 50, 10**6),
    "tokens": (0, 100, 4000, 10**8), "cost": (0, 100, 5 * 10**6, 10**12),
}  # fmt: skip
TEXT: Final = "a" * round((500 - TOKENS_PER_MESSAGE) / LETTER_WEIGHT)


@dataclass(frozen=True, slots=True)
class RandomLimit:
    level: str
    kind: str
    window: str | None
    amount: int
    burst: int
    reserve: str
    shadow: bool


@dataclass(slots=True)
class State:
    """One account with one key, and the call to make; `number` is the id of all its rows."""

    number: int
    secret: str
    model: str
    in_team: bool
    has_user: bool
    is_member: bool
    is_team_archived: bool
    account_status: str
    user_status: str
    key_ends: str
    network: str | None
    subscription: str
    subscription_ends: str
    asks_for: str
    max_tokens: int | None
    used: tuple[int, int, int]
    is_drained: bool
    limits: list[RandomLimit] = field(default_factory=list)

    @property
    def path(self) -> str:
        mode = MODELS[self.model][0]
        return {"embedding": "/v1/embeddings", "image_generation": "/v1/images/generations"}.get(mode, CHAT)

    @property
    def body(self) -> dict[str, Any]:
        if self.path != CHAT:
            return {"model": self.asks_for, "input" if "embed" in self.path else "prompt": TEXT}
        bound = {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        return {"model": self.asks_for, "messages": [{"role": "user", "content": TEXT}], **bound}


def make_states(count: int, seed: int) -> list[State]:
    """Most have nothing or one thing wrong, so that every reason is the decisive one for some."""
    rng = random.Random(seed)
    return [_state(rng, number) for number in range(1, count + 1)]


def _state(rng: random.Random, number: int) -> State:
    def rarely(value: Any, usual: Any, chance: float = 0.03) -> Any:
        return value if rng.random() < chance else usual

    in_team = rng.random() < 0.4
    has_user = not in_team or rng.random() < 0.7
    model = rng.choices(list(MODELS)[:-1], WEIGHTS)[0]
    state = State(
        number=number,
        secret=new_key(),
        model=model,
        in_team=in_team,
        has_user=has_user,
        is_member=in_team and has_user and not rarely(True, False, 0.05),
        is_team_archived=in_team and rarely(True, False, 0.05),
        account_status=rarely("suspended", "active"),
        user_status=rarely("deactivated", "active"),
        key_ends=rarely(rng.choice(["revoked", "archived", "expired", "later"]), "never", 0.12),
        network=rarely(rng.choice([HERE, ELSEWHERE]), None, 0.1),
        subscription=rarely(rng.choice(STATUSES), "active", 0.15),
        subscription_ends=rarely("over", rarely("later", "never"), 0.03),
        asks_for=rarely(rng.choice([ABSENT, UNKNOWN]), model, 0.03),
        max_tokens=rng.choice([None, None, None, 16, 100_000]),
        used=tuple(rng.choice([0, 0, 3, 10**4]) * unit for unit in (1, 50, 10**5)),
        is_drained=rng.random() < 0.25,
    )
    state.limits = _limits(rng, state)
    return state


def _limits(rng: random.Random, state: State) -> list[RandomLimit]:
    levels = ["key", "key_model", "subscription"]
    levels += ["user"] if state.has_user else []
    levels += ["team"] if state.in_team else []
    found: dict[tuple[object, ...], RandomLimit] = {}
    for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
        kind = rng.choice([*AMOUNTS, "cost", "cost"])
        windowed, level, shadow = kind in WINDOWED_KINDS, rng.choice(levels), rng.random() < 0.1
        window = rng.choice(["day", "week", "month", "year", "lifetime"]) if windowed else None
        burst = rng.choice([1, 2]) if kind in BUCKET_KINDS else 1
        limit = RandomLimit(
            level, kind, window, rng.choice(AMOUNTS[kind]), burst, rng.choice(["expected", "maximum"]), shadow
        )
        found[level, kind, window, shadow] = limit
    if state.is_drained:
        kind = rng.choice(BUCKET_KINDS)
        found["key", kind, None, False] = RandomLimit(
            "key", kind, None, {"rpm": 1, "tpm": 2000}[kind], 1, "expected", False
        )
    return list(found.values())


async def write_states(owner: asyncpg.Connection, pool: Pool, states: Sequence[State]) -> None:
    """Into a database without models, users and accounts."""
    now = datetime.now(UTC)
    ends = {"never": None, "later": now + timedelta(hours=1), "over": now - timedelta(hours=1)}
    await _write_models(owner)

    async def copy(table: str, columns: str, rows: Any) -> None:
        await owner.copy_records_to_table(table, records=list(rows), columns=columns.split())

    await copy("users", "id email status status_reason", (
        (s.number, f"user{s.number}@example.org", s.user_status, "left us") for s in states if s.has_user))  # fmt: skip
    await copy("accounts", "id kind name owner_user_id archived_at status status_reason", (
        (s.number, "team" if s.in_team else "personal", f"account {s.number}", None if s.in_team else s.number,
         now if s.is_team_archived else None, s.account_status, None if s.number % 2 else "unpaid")
        for s in states))  # fmt: skip
    await copy("team_members", "account_id user_id", ((s.number, s.number) for s in states if s.is_member))
    await copy("subscriptions", "id account_id model_id status reason expires_at", (
        (s.number, s.number, IDS[s.model], s.subscription, "misuse" if s.number % 2 else None,
         ends[s.subscription_ends]) for s in states))  # fmt: skip
    await copy("api_keys", "id account_id user_id digest pepper_version last_four allowed_ips expires_at revoked_at "
        "archived_at created_by", (
        (s.number, s.number, s.number if s.has_user else None, PEPPERS.digest(s.secret, PEPPERS.newest),
         PEPPERS.newest, s.secret[-4:], [ip_network(s.network)] if s.network else [],
         now - timedelta(hours=1) if s.key_ends == "expired" else ends["later" if s.key_ends == "later" else "never"],
         now if s.key_ends == "revoked" else None, now if s.key_ends == "archived" else None, "test")
        for s in states))  # fmt: skip
    await copy("api_key_models", "api_key_id model_id", ((s.number, IDS[s.model]) for s in states))
    await copy("limits", "account_id level api_key_id model_id subscription_id user_id kind window_kind amount burst "
        "reserve shadow", (
        (s.number, one.level, s.number if one.level in ("key", "key_model") else None,
         IDS[s.model] if one.level == "key_model" else None, s.number if one.level == "subscription" else None,
         s.number if one.level == "user" else None, one.kind, one.window, one.amount, one.burst, one.reserve,
         one.shadow) for s in states for one in s.limits))  # fmt: skip
    rows = [
        make_usage_row(
            now, account_id=s.number, user_id=s.number if s.has_user else None, api_key_id=s.number,
            subscription_id=s.number, model_id=IDS[s.model], counted_requests=min(s.used[0], 30_000),
            counted_tokens=s.used[1], counted_nano_usd=s.used[2],
        )
        for s in states if any(s.used)
    ]  # fmt: skip
    for start in range(0, len(rows), 500):
        await write_rows(pool, rows[start : start + 500])


async def _write_models(owner: asyncpg.Connection) -> None:
    for name, (mode, longest, prompt, completion, unusable, enabled, listed) in MODELS.items():
        await owner.execute(
            "INSERT INTO models (id, name, mode, max_output_tokens, enabled, listed) OVERRIDING SYSTEM VALUE "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            IDS[name], name, mode, longest, enabled, listed,
        )  # fmt: skip
        if prompt is not None:
            await owner.execute(
                "INSERT INTO model_prices (model_id, source, input, output, unusable) "
                "VALUES ($1, 'litellm', $2, $3, $4)",
                IDS[name], Decimal(prompt), None if completion is None else Decimal(completion), unusable,
            )  # fmt: skip
