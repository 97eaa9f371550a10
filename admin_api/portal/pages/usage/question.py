"""The question of a page about usage, as its address holds it: what, by what, when, where, and of which calls."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Self
from urllib.parse import urlencode

from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.form_values import whole_number
from admin_api.portal.formatters import Formats
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

CUSTOM: Final = "custom"
PERIODS: Final[Mapping[str, str]] = {
    "today": marked("Today"),
    "this-week": marked("This week"),
    "last-7-days": marked("Last 7 days"),
    "this-month": marked("This month"),
    "last-month": marked("Last month"),
    "last-30-days": marked("Last 30 days"),
    "this-year": marked("This year"),
    CUSTOM: marked("From … to …"),
}
GROUPS: Final[Mapping[str, str]] = {
    "model": marked("Model"),
    "provider": marked("Provider"),
    "key": marked("API key"),
    "user": marked("User"),
    "team": marked("Team"),
    "account": marked("Account"),
    "ending": marked("How it ended"),
    "error_class": marked("Error"),
}
METRICS: Final[Mapping[str, str]] = {
    "cost": marked("Cost"),
    "tokens": marked("Tokens"),
    "prompt_tokens": marked("Tokens in"),
    "completion_tokens": marked("Tokens out"),
    "calls": marked("Calls"),
    "errors": marked("Errors"),
    "latency": marked("Duration"),
    "refusals": marked("Refusals"),
}
# What else than the person's own may be chosen; an address may have any other.
ZONES: Final = (
    "UTC", "America/Los_Angeles", "America/Denver", "America/Chicago", "America/New_York", "America/Mexico_City",
    "America/Bogota", "America/Sao_Paulo", "America/Argentina/Buenos_Aires", "Europe/London", "Europe/Madrid",
    "Europe/Paris", "Europe/Berlin", "Europe/Istanbul", "Africa/Johannesburg", "Asia/Dubai", "Asia/Kolkata",
    "Asia/Singapore", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
PEOPLE: Final = ("team", "account", "user", "key")


@dataclass(frozen=True, slots=True)
class Audience:
    """Whose usage a page is about, and what it may be grouped by; the first group is where the page begins."""

    path: str
    refusals_path: str
    groups: tuple[str, ...]
    then_by: str
    is_of_all: bool = False


OWN: Final = Audience("/usage", "/refusals", ("model", "provider", "key", "ending", "error_class"), "")
# Of a team that the person is in: its owners see its people and keys.
OF_TEAM: Final = Audience("/usage", "/refusals", ("model", "provider", "user", "key", "ending", "error_class"), "")
OF_ALL: Final = Audience(
    "/admin/usage", "/admin/refusals", ("team", "account", "user", "model", "provider", "ending", "error_class"),
    "model", is_of_all=True,
)  # fmt: skip
# With a team or a user named, keys may be shown too.
OF_ONE: Final = replace(
    OF_ALL, groups=("model", "provider", "user", "key", "account", "ending", "error_class"), then_by=""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All of an address; texts as they were given, empty where nothing was."""

    audience: Audience
    whose: int
    period: str = "this-month"
    first: str = ""
    last: str = ""
    by: str = ""
    then_by: str = ""
    metric: str = "cost"
    zone: str
    user: str = ""
    team: str = ""
    key: str = ""
    model: str = ""
    provider: str = ""
    ending: str = ""
    error_class: str = ""
    code: str = ""

    @classmethod
    def of(cls, visit: Visit, audience: Audience) -> Self:
        """What this visit asks. Words that a page does not have are its first ones; the operations refuse others."""
        given = {name: visit.query(name) for name in ADDRESS}
        asked = {name: value for name, value in given.items() if value is not None}
        # What was chosen in a form to be nothing.
        if "then_by" in visit.request.query_params:
            asked.setdefault("then_by", "")
        found = cls(audience=_audience(audience, asked), whose=visit.user.id, **{"zone": visit.formats.zone} | asked)
        groups = found.audience.groups
        by = found.by if found.by in groups else groups[0]
        then_by = found.then_by if "then_by" in asked else found.audience.then_by
        metric = found.metric if found.metric in METRICS else "cost"
        # By people there are no percentiles of all accounts.
        if metric == "latency" and audience.is_of_all and not found.is_of_one and by in PEOPLE:
            by = "model"
        found = replace(found, by=by, metric=metric)
        return replace(found, then_by=then_by if then_by in GROUPS and found.can_divide(then_by) else "")

    @property
    def is_of_one(self) -> bool:
        """Whether an account is named, or the person's own are meant: then everything can be shown."""
        return bool(self.team or self.user) or not self.audience.is_of_all

    @property
    def is_filtered(self) -> bool:
        """Whether it is about a part of the calls, or a period that is not one click away."""
        names = ("user", "team", "key", "model", "provider", "ending", "error_class", "code")
        return any(getattr(self, name) for name in names) or self.period == CUSTOM or self.period not in PERIODS

    def can_divide(self, then_by: str) -> bool:
        """Whether groups can be divided by it."""
        return then_by != self.by and (self.is_of_one or then_by not in PEOPLE or self.by in PEOPLE)

    @property
    def filter(self) -> UsageFilter:
        """Of the operations. Raises GatewayError `not_found` for a key that is no number."""
        key = whole_number(self.key)
        if self.key and key is None:
            raise GatewayError("not_found", f"There is no key {self.key}.")
        own = str(self.whose) if not self.audience.is_of_all and not self.team else None
        return UsageFilter(
            period=f"{self.first}..{self.last or self.first}" if self.period == CUSTOM else self.period,
            time_zone=self.zone,
            user=self.user or own,
            team=self.team or None,
            key=key,
            models=[self.model] if self.model else (),
            provider=self.provider or None,
            endings=[self.ending] if self.ending else (),
            error_classes=[self.error_class] if self.error_class else (),
        )

    def formats(self, visit: Visit) -> Formats:
        """Of the zone that was chosen."""
        return Formats(visit.language, self.zone)

    def path(self, below: str = "", **changes: str) -> str:
        """The address of the same question with some changes; `below` the page, as `/calls`."""
        return self.address(self.audience.path + below, **changes)

    def address(self, path: str, **changes: str) -> str:
        """The same question with some changes at another page."""
        held = {name: getattr(self, name) for name in ADDRESS} | changes
        kept = {name: value for name, value in held.items() if value or name == "then_by"}
        if held["period"] != CUSTOM:
            kept = {name: value for name, value in kept.items() if name not in ("first", "last")}
        return f"{path}?{urlencode(kept)}"


ADDRESS: Final = tuple(one.name for one in fields(Question) if one.name not in ("audience", "whose"))


def _audience(audience: Audience, asked: Mapping[str, str]) -> Audience:
    if audience.is_of_all:
        return OF_ONE if "team" in asked or "user" in asked else OF_ALL
    return OF_TEAM if "team" in asked else OWN
