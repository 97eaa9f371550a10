"""The bound on token counting: a bucket of each key that no one sets, beside the limits and not one of them."""

from dataclasses import dataclass
from typing import Final

from gateway.domain.limits import LIMIT_KINDS, Limit, key_scope

NAME: Final = "token_counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingBound(Limit):
    """Refills like a limit of `rpm`, in a counter of its own. Its id is that of no row of the limits table."""

    @property
    def field(self) -> str:
        return f"{LIMIT_KINDS[self.kind].code}|{self.scope}|{NAME}"

    @property
    def name(self) -> str:
        return NAME

    @property
    def label(self) -> str:
        return "token counts per minute"


def counting_bounds(key_id: int, per_minute: int) -> tuple[Limit, ...]:
    """What a call that only counts tokens has to pass; nothing if `per_minute` is 0."""
    if not per_minute:
        return ()
    scope = key_scope(key_id)
    return (CountingBound(id=-key_id, level="key", scope=scope, kind="rpm", window=None, amount=per_minute),)
