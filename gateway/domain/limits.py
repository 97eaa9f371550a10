"""Limits: what may be taken, by whom, in which window. The words are those of docs/limits.md.

Fields of a counter are `kind|scope` and, for a window, `|window`: the same for every gateway, for ever.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, get_args

from gateway.domain.windows import WindowKind

Level = Literal["key", "key_model", "subscription", "user", "team"]
Kind = Literal["rpm", "tpm", "concurrency", "requests", "tokens", "cost"]
ReserveMode = Literal["expected", "maximum"]
SetBy = Literal["admin", "owner"]
LEVELS: Final = get_args(Level)
KINDS: Final = get_args(Kind)
WINDOWED_KINDS: Final = ("requests", "tokens", "cost")
BUCKET_KINDS: Final = ("rpm", "tpm")
MAX_AMOUNT: Final = 2**53 - 1
# A bucket is counted in 1/60000 units, in Lua's doubles.
MAX_BUCKET_CAPACITY: Final = 100_000_000_000
# The letter a counter's field starts with; the scripts tell kinds by it.
KIND_CODES: Final[dict[Kind, str]] = {
    "rpm": "r",
    "tpm": "t",
    "concurrency": "c",
    "requests": "R",
    "tokens": "T",
    "cost": "C",
}


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
        return int(self.amount * self.burst) if self.kind in BUCKET_KINDS else self.amount

    @property
    def field(self) -> str:
        """The counter's field in the account's hash. Windows and open leases of one scope are one count, whoever set
        the limit; a bucket refills at its own limit's rate, so each row has a bucket of its own: what is taken under a
        temporary limit is no debt of the lasting one that comes back after it."""
        last: str = self.window or ""
        if self.kind in BUCKET_KINDS:
            last = self.set_by + ("-shadow" if self.shadow else "") + ("-passing" if self.expires_at else "")
        return f"{KIND_CODES[self.kind]}|{self.scope}" + (f"|{last}" if last else "")


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


TEAM_SCOPE: Final = "t"
