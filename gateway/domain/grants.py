"""What a key may do: one grant a model, with the limits a call by it must pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network

from gateway.domain.limits import Limit
from gateway.domain.model_status import WithheldStatus
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
class Withheld:
    """A model of a key that may not be called now. `status` is the one word for it, which the admin API has too:
    `unlisted` or `disabled` of the model, else that of the subscription."""

    model_id: int
    model_name: str
    status: WithheldStatus
    # Given by who suspended or denied it.
    reason: str | None = None


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
    # By name, as the grants.
    withheld: Mapping[str, Withheld] = field(default_factory=dict)
    # The names of today of its models, by those they had before.
    renamed: Mapping[str, str] = field(default_factory=dict)
    is_archived: bool = False
    # Where the user is active, but not in the team any more.
    has_left_team: bool = False
    # Given by who suspended the account or deactivated the user.
    account_reason: str | None = None
    user_reason: str | None = None
    is_team_archived: bool = False
