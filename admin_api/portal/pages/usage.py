"""Usage: one page is one question, and one question one address."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from admin_api.operations.actors import require_reader
from admin_api.operations.usage.reports import Group, Point, break_down, read_series
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.charts import HEIGHT, WIDTH, bars
from admin_api.portal.rendering import Page
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.usage.queries import UsageSums

TOP: Final = 20
PERIODS: Final[Mapping[str, str]] = {
    "this-month": marked("This month"),
    "last-month": marked("Last month"),
    "this-week": marked("This week"),
    "last-7-days": marked("Last 7 days"),
    "last-30-days": marked("Last 30 days"),
    "today": marked("Today"),
    "this-year": marked("This year"),
}
GROUPS: Final[Mapping[str, str]] = {
    "model": marked("Model"),
    "key": marked("API key"),
    "provider": marked("Provider"),
    "ending": marked("How it ended"),
}
GROUPS_OF_ALL: Final[Mapping[str, str]] = {
    "team": marked("Team"),
    "account": marked("Account"),
    "user": marked("User"),
    "model": marked("Model"),
    "provider": marked("Provider"),
    "ending": marked("How it ended"),
}
METRICS: Final[Mapping[str, str]] = {"cost": marked("Cost"), "tokens": marked("Tokens"), "calls": marked("Calls")}
_OF: Final[Mapping[str, Callable[[UsageSums], int]]] = {
    "cost": lambda sums: sums.cost_nano_usd,
    "tokens": lambda sums: sums.prompt_tokens + sums.completion_tokens,
    "calls": lambda sums: sums.calls,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table; `share` is of the metric."""

    name: str
    sums: UsageSums
    share: float | None


async def show(visit: Visit) -> Page:
    """Of the person's own account, in their time zone."""
    return await _answer(visit, "/usage", visit.messages.gettext("Usage"), GROUPS, user=str(visit.user.id))


async def show_of_all(visit: Visit) -> Page:
    """Of all accounts, for admins."""
    require_reader(visit.actor)
    return await _answer(visit, "/admin/usage", visit.messages.gettext("Usage of all"), GROUPS_OF_ALL)


async def _answer(visit: Visit, path: str, title: str, groups: Mapping[str, str], **whose: str) -> Page:
    _ = visit.messages.gettext
    period = visit.query("period") or "this-month"
    by, metric = visit.query("by") or next(iter(groups)), visit.query("metric") or "cost"
    by, metric = by if by in groups else next(iter(groups)), metric if metric in METRICS else "cost"
    query = UsageFilter(period=period, time_zone=visit.formats.zone, **whose)  # type: ignore[arg-type]  # names of it
    step = "hour" if period in ("today", "yesterday") else "month" if period.endswith("-year") else "day"
    series = await read_series(visit.pool, visit.actor, query, step=step)
    found = await break_down(visit.pool, visit.actor, query, by=by, order=metric, limit=TOP)
    total = _OF[metric](found.total)
    lines = [Line(_name(visit, group), group.sums, _share(_OF[metric](group.sums), total)) for group in found.groups]
    if found.number_of_groups > len(found.groups):
        lines.append(Line(_("Other"), found.others, _share(_OF[metric](found.others), total)))
    points = [(_step_text(visit, step, point), point.sums) for point in series.points]
    labels = [f"{text}: {_write(visit, metric, _OF[metric](sums))}" for text, sums in points]
    context = {
        "action": path,
        "period": period,
        "by": by,
        "metric": metric,
        "periods": [(one, _(text)) for one, text in PERIODS.items()],
        "groups": [(one, _(text)) for one, text in groups.items()],
        "metrics": [(one, _(text)) for one, text in METRICS.items()],
        "group_text": _(groups[by]),
        "metric_text": _(METRICS[metric]),
        "lines": lines,
        "total": found.total,
        "points": points,
        "bars": bars([_OF[metric](sums) for _text, sums in points], labels),
        "width": WIDTH,
        "height": HEIGHT,
    }
    return Page("usage.html", title, context)


def _name(visit: Visit, group: Group) -> str:
    return group.name or group.id or visit.messages.gettext("none")


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def _write(visit: Visit, metric: str, value: int) -> str:
    return visit.formats.nano_usd(value) if metric == "cost" else visit.formats.number(value)


def _step_text(visit: Visit, step: str, point: Point) -> str:
    local: datetime = point.start.astimezone(ZoneInfo(visit.formats.zone))
    if step == "hour":
        return visit.formats.moment(point.start)
    return visit.formats.month(local.date()) if step == "month" else visit.formats.day(local.date())
