"""JSON of teams with the limit that each is nearest to."""

from typing import TYPE_CHECKING, Any, Self

from admin_api.schemas.shapes import View
from admin_api.storage.accounts import AccountStatus
from gateway.domain.limits import Kind, amount_fields
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.limits.team_uses import TeamUse


class TeamUseView(View):
    """A team and its tightest limit of a window; all of that is null for a team without one. Money is in USD and
    nano-USD; `used_percent` is rounded down."""

    id: int
    name: str
    status: AccountStatus
    members: int
    kind: Kind | None = None
    window: WindowKind | None = None
    limit: int | None = None
    limit_usd: str | None = None
    limit_nano_usd: int | None = None
    used: int | None = None
    used_usd: str | None = None
    used_nano_usd: int | None = None
    remaining: int | None = None
    remaining_usd: str | None = None
    remaining_nano_usd: int | None = None
    used_percent: int | None = None

    @classmethod
    def of(cls, use: "TeamUse") -> Self:
        """One team."""
        fields: dict[str, Any] = {name: getattr(use.team, name) for name in ("id", "name", "status")}
        if use.tightest is not None:
            one, kind = use.tightest, use.tightest.limit.kind
            fields |= {"kind": kind, "window": one.limit.window, "used_percent": one.share // 10}
            for name, amount in (("limit", one.limit.amount), ("used", one.used), ("remaining", one.left)):
                fields |= amount_fields(name, kind, amount)
        return cls(**fields, members=use.members)


class TeamUsesView(View):
    """Teams, the one nearest to a limit first."""

    rows: list[TeamUseView]
