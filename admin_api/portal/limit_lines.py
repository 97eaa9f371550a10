"""Limits and their use as pages write them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from admin_api.operations.limits.uses import PER_MILLE, LimitUse, list_uses
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.limits import LimitRow
from admin_api.web.counters import counters_of
from gateway.domain.errors import GatewayError
from gateway.domain.limits import Kind, Level, is_money
from gateway.domain.windows import WindowKind
from gateway.storage.redis.link import RedisUnavailable

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters

NAMES: Final[Mapping[tuple[Kind, WindowKind | None], str]] = {
    ("rpm", None): marked("Requests per minute"),
    ("tpm", None): marked("Tokens per minute"),
    ("concurrency", None): marked("Requests at the same time"),
    ("requests", "day"): marked("Requests per day"),
    ("requests", "week"): marked("Requests per week"),
    ("requests", "month"): marked("Requests per month"),
    ("requests", "year"): marked("Requests per year"),
    ("requests", "lifetime"): marked("Requests in all"),
    ("tokens", "day"): marked("Tokens per day"),
    ("tokens", "week"): marked("Tokens per week"),
    ("tokens", "month"): marked("Tokens per month"),
    ("tokens", "year"): marked("Tokens per year"),
    ("tokens", "lifetime"): marked("Tokens in all"),
    ("cost", "day"): marked("Cost per day"),
    ("cost", "week"): marked("Cost per week"),
    ("cost", "month"): marked("Cost per month"),
    ("cost", "year"): marked("Cost per year"),
    ("cost", "lifetime"): marked("Cost in all"),
}
LEVELS: Final[Mapping[Level, str]] = {
    "key": marked("API key"),
    "key_model": marked("API key and model"),
    "subscription": marked("Subscription"),
    "user": marked("User"),
    "team": marked("Team"),
}
# From which share on, in thousandths, a use is marked.
NEAR: Final = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLine:
    """One limit of a page; texts are in the person's language. `colour` is that of PatternFly's label."""

    row: LimitRow
    name: str
    target: str
    amount: str
    used: str
    reserved: str
    left: str
    share: str
    colour: str
    resets_at: datetime | None


def lines_of(visit: Visit, uses: Iterable[LimitUse]) -> list[LimitLine]:
    """In the order given."""
    return [
        LimitLine(
            row=use.row,
            name=name_of(visit, use.row.kind, use.row.window),
            target=target_of(visit, use.row),
            amount=amount_of(visit, use.row.kind, use.row.amount),
            used=amount_of(visit, use.row.kind, use.used),
            reserved=amount_of(visit, use.row.kind, use.reserved),
            left=amount_of(visit, use.row.kind, use.left),
            share=share_of(visit, use.share),
            colour=colour_of(use.share),
            resets_at=use.resets_at,
        )
        for use in uses
    ]


def name_of(visit: Visit, kind: Kind, window: WindowKind | None) -> str:
    """What is limited."""
    return visit.messages.gettext(NAMES[kind, window])


def level_text(visit: Visit, level: str) -> str:
    """What a limit of this level is set on, without its name."""
    return visit.messages.gettext(LEVELS[level])  # type: ignore[index]  # a level


def target_of(visit: Visit, row: LimitRow) -> str:
    """What the limit is set on."""
    key = row.key_name or f"…{row.key_last_four}"
    names = {"key": key, "model": row.model_name, "user": row.user_email, "account": row.account_name}
    return target_text(visit, row.level, names, is_own=row.team is None and row.user_id == visit.user.id)


def target_text(visit: Visit, level: Level, names: Mapping[str, str | None], *, is_own: bool) -> str:
    """Of a level and the names of what is limited; `is_own` for the person's own account."""
    _ = visit.messages.gettext
    if level == "key":
        return _("API key %(key)s") % names
    if level == "key_model":
        return _("API key %(key)s, model %(model)s") % names
    if level == "subscription":
        return _("Subscription of %(account)s to %(model)s") % names
    if level == "team":
        return _("Team %(account)s") % names
    if is_own:
        return _("Yourself")
    return str(names["user"]) if names["user"] == names["account"] else _("%(user)s in team %(account)s") % names


def amount_of(visit: Visit, kind: Kind, amount: int | None) -> str:
    """A count or money; None is written as unlimited."""
    if amount is None:
        return visit.messages.gettext("unlimited")
    return visit.formats.nano_usd(amount) if is_money(kind) else visit.formats.number(amount)


def share_of(visit: Visit, share: int) -> str:
    """Of thousandths, as whole percent: 100 % is a limit that is used up."""
    return visit.formats.percent(share * 100 // PER_MILLE / 100)


def colour_of(share: int) -> str:
    """The nearer to the limit, the redder."""
    return "red" if share >= PER_MILLE else "orange" if share >= NEAR else "green"


async def read_lines(visit: Visit, rows: Iterable[LimitRow]) -> list[LimitLine] | None:
    """Of limits that the person may see, the tightest first; None if Redis does not answer."""
    uses = await read_or_none(visit, lambda counters: list_uses(visit.pool, counters, rows))
    return None if uses is None else lines_of(visit, uses)


async def read_or_none(visit: Visit, read: Callable[["Counters"], Awaitable[list[LimitUse]]]) -> list[LimitUse] | None:
    """What is read of the counters; None if Redis does not answer: the rest of the page is shown."""
    try:
        return await read(counters_of(visit.request))
    except RedisUnavailable:
        return None
    except GatewayError as error:
        if error.code != "limits_unavailable":
            raise
        return None
