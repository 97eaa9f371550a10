"""Limits: what may be used, by whom, in which window. docs/limits.md defines the words.

Fields of a counter are `kind|scope` and, for a window, `|window`: the same in every gateway and every version.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from gateway.domain.money import Money
from gateway.domain.windows import WindowKind

Level = Literal["key", "key_model", "subscription", "user", "team"]
Kind = Literal["rpm", "tpm", "concurrency", "requests", "tokens", "cost"]
ReserveMode = Literal["expected", "maximum"]
SetBy = Literal["admin", "owner"]
# How a counter is stored: one that refills, a number of open calls, or what is used and reserved of a window.
CounterType = Literal["bucket", "open", "window"]
# What is counted. Windows add up the column counted_… of the ledger. Something else to count needs that column, and a
# place in an Estimate, a Lease, a Settlement (gateway/storage/counters/scripts.py and layout.py) and the scripts.
Counted = Literal["requests", "tokens", "nano_usd"]
MAX_AMOUNT: Final = 2**53 - 1
# A bucket is counted in 1/60000 units, in Lua's doubles.
BUCKET_UNITS: Final = 60_000
MAX_BUCKET_CAPACITY: Final = 100_000_000_000


class KindFacts(NamedTuple):
    """One kind of limit. `code` is the letter that begins the names of its counters, `label` its name in messages."""

    code: str
    counter: CounterType
    counts: Counted
    label: str

    @property
    def ledger_column(self) -> str:
        """What its windows add up."""
        return f"counted_{self.counts}"


# All kinds. These name kinds too, and cannot be derived from here:
# - a migration: the CHECKs of limits.kind, limits.window_kind, limits.burst and alerts.kind;
# - the scripts in gateway/storage/counters/lua, which know kinds by their codes;
# - admin_api/operations/notifications/email_phrases.py, which translates those with a window;
# - the descriptions of window and burst in admin_api/routes/limits.py;
# - docs/limits.md and the scripts' model in tests/limits/model.py.
# tests/contract/test_limit_kinds.py fails for each place that a kind is missing from.
LIMIT_KINDS: Final[dict[Kind, KindFacts]] = {
    "rpm": KindFacts("r", "bucket", "requests", "requests per minute"),
    "tpm": KindFacts("t", "bucket", "tokens", "tokens per minute"),
    "concurrency": KindFacts("c", "open", "requests", "concurrent requests"),
    "requests": KindFacts("R", "window", "requests", "requests"),
    "tokens": KindFacts("T", "window", "tokens", "tokens"),
    "cost": KindFacts("C", "window", "nano_usd", "USD"),
}
KINDS: Final = tuple(LIMIT_KINDS)
WINDOWED_KINDS: Final = tuple(kind for kind, facts in LIMIT_KINDS.items() if facts.counter == "window")
BUCKET_KINDS: Final = tuple(kind for kind, facts in LIMIT_KINDS.items() if facts.counter == "bucket")
KIND_OF_CODE: Final = {facts.code: kind for kind, facts in LIMIT_KINDS.items()}


def is_money(kind: Kind) -> bool:
    """Whether amounts of this kind are nano-USD."""
    return LIMIT_KINDS[kind].counts == "nano_usd"


def amount_fields(name: str, kind: Kind, amount: int | None) -> dict[str, int | str | None]:
    """For programs: a count as `name`; money as `name_usd` and `name_nano_usd`, with null as `name`."""
    if not is_money(kind):
        return {name: amount}
    usd = None if amount is None else Money(amount).usd
    return {name: None, f"{name}_usd": usd, f"{name}_nano_usd": amount}


def amount_text(kind: Kind, amount: int | None) -> str:
    """For people: `25 USD`, `1000`, `unlimited`."""
    if amount is None:
        return "unlimited"
    return str(Money(amount)) if is_money(kind) else str(amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One row of the limits table. `scope` names what it is attached to inside its account."""

    id: int
    level: Level
    scope: str
    kind: Kind
    window: WindowKind | None
    amount: int
    burst: Decimal = Decimal(1)
    reserve: ReserveMode = "expected"
    shadow: bool = False
    set_by: SetBy = "admin"
    expires_at: datetime | None = None
    # Its counter is right from this epoch of its account on: before, calls may have gone past it uncounted.
    epoch: int = 0

    @property
    def capacity(self) -> int:
        """What a full bucket holds; for other kinds the amount itself."""
        return int(self.amount * self.burst) if self.is_bucket else self.amount

    @property
    def is_bucket(self) -> bool:
        """Whether its counter refills, and is counted in 1/60000 units."""
        return self.kind in BUCKET_KINDS

    @property
    def name(self) -> str:
        """What it is in errors and metrics."""
        return self.kind

    @property
    def label(self) -> str:
        """What it is in sentences."""
        return LIMIT_KINDS[self.kind].label

    @property
    def field(self) -> str:
        """The counter's field in the account's hash. Windows and open leases of one scope are one count for
        all limits; a bucket refills at its own limit's rate, so each row has a bucket of its own: what is taken under a
        temporary limit is no debt of the lasting one that comes back after it."""
        last: str = self.window or ""
        if self.is_bucket:
            last = self.set_by + ("-shadow" if self.shadow else "") + ("-passing" if self.expires_at else "")
        return f"{LIMIT_KINDS[self.kind].code}|{self.scope}" + (f"|{last}" if last else "")


def key_scope(key_id: int) -> str:
    """The scope of level `key`."""
    return f"k{key_id}"


def key_model_scope(key_id: int, model_id: int) -> str:
    """The scope of level `key_model`."""
    return f"k{key_id}m{model_id}"


def subscription_scope(subscription_id: int) -> str:
    """The scope of level `subscription`."""
    return f"s{subscription_id}"


def user_scope(user_id: int) -> str:
    """The scope of level `user`: that user inside this account."""
    return f"u{user_id}"


def team_scope() -> str:
    """The scope of level `team`: all of the account."""
    return "t"


class LevelFacts(NamedTuple):
    """One level. `scope` takes the values of `ids`, which are fields of ScopeIds and columns of the table limits;
    `label` is its name in messages."""

    ids: tuple[str, ...]
    scope: Callable[..., str]
    label: str


# All levels, in the order in which ties between limits are decided. These name levels too, and cannot be derived from
# here:
# - a migration: the columns that are a level's ids, the CHECKs of limits.level, of each id and of
#   alerts.level, the index limits_one_of_a_kind and the function shares_counter;
# - SQL that names the ids: gateway/storage/key_records.py, gateway/storage/ledger/sums.py, admin_api/storage/limits.py
#   and alerts.py, and bulk_limits.py if a limit of the level can be set on many at once;
# - _IDS_OF_SCOPES below, if its scope has a new letter;
# - admin_api/operations/limits/targets.py, which finds what a limit is set on, and admin_api/schemas/limits.py;
# - admin_api/operations/notifications/email_phrases.py, which translates them;
# - docs/limits.md.
# tests/contract/test_limit_levels.py fails for each place that a level is missing from.
LIMIT_LEVELS: Final[dict[Level, LevelFacts]] = {
    "key": LevelFacts(("api_key_id",), key_scope, "this API key"),
    "key_model": LevelFacts(("api_key_id", "model_id"), key_model_scope, "this API key and model"),
    "subscription": LevelFacts(("subscription_id",), subscription_scope, "the subscription to this model"),
    "user": LevelFacts(("user_id",), user_scope, "the user"),
    "team": LevelFacts((), team_scope, "the team"),
}
LEVELS: Final = tuple(LIMIT_LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeIds:
    """The ids of a call, or of what a limit is set on; None: it has none."""

    api_key_id: int | None = None
    model_id: int | None = None
    subscription_id: int | None = None
    user_id: int | None = None

    def scope(self, level: Level) -> str:
        """The scope of that level; raises ValueError where one of its ids is None."""
        facts = LIMIT_LEVELS[level]
        ids = [getattr(self, name) for name in facts.ids]
        if None in ids:
            raise ValueError(f"level {level} needs {' and '.join(facts.ids)}")
        return facts.scope(*ids)

    def scopes(self) -> dict[Level, str]:
        """Of every level whose ids are known."""
        return {
            level: self.scope(level)
            for level, facts in LIMIT_LEVELS.items()
            if all(getattr(self, name) is not None for name in facts.ids)
        }


# The letters of scopes.
_IDS_OF_SCOPES: Final = {"k": "api_key_id", "m": "model_id", "s": "subscription_id", "u": "user_id"}


def parse_scope(scope: str) -> tuple[Level | None, ScopeIds]:
    """The level whose scope it is and its ids; level None if it is of none, as a later version's may be."""
    named = re.findall(r"([a-z])(\d+)", scope)
    ids = ScopeIds(**{_IDS_OF_SCOPES[letter]: int(number) for letter, number in named if letter in _IDS_OF_SCOPES})
    return next((level for level, known in ids.scopes().items() if known == scope), None), ids
