"""What a key may do: one grant a model, with the limits a call by it must pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from gateway.domain.limits import Limit
from gateway.domain.prices import Price


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class Grant:
    """One key × model whose subscription is active. Compared by identity: reservation plans are cached by it."""

    model_id: int
    model_name: str
    owned_by: str
    max_output_tokens: int | None
    subscription_id: int
    subscription_expires_at: datetime | None
    price: Price | None
    # In the order in which ties between limits are decided: that of LIMIT_LEVELS.
    limits: tuple[Limit, ...]
    # Names every scope the call is in, also those without a limit now: one may be set while it runs.
    scopes: str
    # LiteLLM's word for what the model is for; None: it does not say.
    mode: str | None = None
    # By its capabilities, the model may make output that callers do not see.
    reasons: bool = False

    def is_over(self, now: datetime) -> bool:
        """Whether the subscription has run out, which no notification announces."""
        return self.subscription_expires_at is not None and self.subscription_expires_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """All the gateway needs to know of a key, read in one statement."""

    key_id: int
    account_id: int
    user_id: int | None
    time_zone: str
    epoch: int
    is_account_active: bool
    is_user_active: bool
    is_revoked: bool
    expires_at: datetime | None
    allowed_ips: tuple[IPv4Network | IPv6Network, ...]
    grants: Mapping[str, Grant]
