"""How limits are named: what is limited, on what it is set, and how much of it is used."""

from collections.abc import Mapping
from typing import Final

from admin_api.operations.limits.shares import PER_MILLE
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.alerts import Alert
from admin_api.storage.limits import LimitRow
from gateway.domain.limits import Kind, Level, is_money
from gateway.domain.windows import WindowKind

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
    return _target_text(visit, row.level, names, is_own=row.team is None and row.user_id == visit.user.id)


def _target_text(visit: Visit, level: Level, names: Mapping[str, str | None], *, is_own: bool) -> str:
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


def target_of_alert(visit: Visit, alert: Alert) -> str:
    """What its limit is set on, as it was named then."""
    about = alert.about
    names = {name: about.get(name) for name in ("model", "user", "account")}
    names["key"] = about.get("key") or f"…{about.get('key_last_four')}"
    return _target_text(visit, alert.level, names, is_own=about.get("account") == visit.user.email)


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
