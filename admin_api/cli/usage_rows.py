"""Rows of the tables of usage: names in place of ids, days as days."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from admin_api.cli.cells import key_text, owner_text

if TYPE_CHECKING:
    from admin_api.schemas.usage_overview import UsageOverviewView, UsageWeekView
    from admin_api.schemas.usage_reports import UsageBreakdownView, UsagePercentilesView, UsageSeriesView

# How the beginning of a step is written; that of an hour is a time.
STEP_FORMATS: Final = {"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# What has no user, no provider and so on.
WITHOUT: Final = {"user": "service keys", "provider": "unknown provider", "team": "no team", "error_class": "no error"}


def call_row(call: dict[str, Any]) -> dict[str, Any]:
    """A call: its tokens as in the line of totals, and the status with an ending that is no success."""
    ending = call["ending"] if call["status"] < 400 else f"{call['ending']} {call['status']}"
    return call | {
        "owner": owner_text(call["account_name"], call["user_email"]),
        "key": key_text(call["key_name"], call["key_last_four"]),
        "tokens": f"{call['prompt_tokens']} + {call['completion_tokens']}",
        "ending": ending,
    }


def point_rows(view: "UsageSeriesView") -> list[dict[str, Any]]:
    """The steps so far; those that have not begun have no calls yet."""
    now, zone = datetime.now(UTC), ZoneInfo(view.time_zone)
    form = STEP_FORMATS.get(view.step)
    return [
        point.model_dump(mode="json")
        | {view.step: f"{point.start.astimezone(zone):{form}}" if form else point.start.isoformat()}
        for point in view.points
        if point.start < now
    ]


def group_rows(view: "UsageBreakdownView") -> list[dict[str, Any]]:
    """The groups, what the others add up to, and the total."""
    rows = [one.model_dump(mode="json") | {view.by: _group_name(view.by, one.id, one.name)} for one in view.groups]
    if view.number_of_groups > len(rows):
        rows.append({"id": None, view.by: "all others"} | view.others.model_dump(mode="json"))
    return [*rows, {"id": None, view.by: "total"} | view.total.model_dump(mode="json")] if rows else []


def overview_rows(view: "UsageOverviewView") -> list[dict[str, Any]]:
    """The groups, the parts of each below it, what the others add up to, and the total, beside the period before."""
    rows = []
    for group in view.groups:
        rows.append(
            _beside_before(group.model_dump(mode="json")) | {view.by: _group_name(view.by, group.id, group.name)}
        )
        for part in group.parts:
            name = _group_name(view.then_by or "", part.id, part.name)
            rows.append(
                _with_tokens(part.model_dump(mode="json")) | {"id": None, view.by: f"· {name}", "cost_before_usd": None}
            )
    if view.number_of_groups > len(view.groups):
        rows.append(_beside_before(view.others.model_dump(mode="json")) | {"id": None, view.by: "all others"})
    total = _beside_before(view.total.model_dump(mode="json")) | {"id": None, view.by: "total"}
    return [*rows, total] if rows else []


def _beside_before(figures: dict[str, Any]) -> dict[str, Any]:
    return _with_tokens(figures) | {"cost_before_usd": figures["before"]["cost_usd"]}


def _with_tokens(figures: dict[str, Any]) -> dict[str, Any]:
    return figures | {"tokens": f"{figures['prompt_tokens']} + {figures['completion_tokens']}"}


def week_rows(view: "UsageWeekView") -> list[dict[str, Any]]:
    """The hours that have calls."""
    return [
        hour.model_dump(mode="json") | {"weekday": WEEKDAYS[hour.weekday - 1], "hour": f"{hour.hour:02}:00"}
        for hour in view.hours
        if hour.calls
    ]


def latency_rows(view: "UsagePercentilesView") -> list[dict[str, Any]]:
    """Two for each group."""
    return [
        {"name": _group_name(view.by, row.id, row.name) if view.by else "all", "of": of}
        | latency.model_dump(mode="json")
        for row in view.rows
        for of, latency in (("whole call", row.total_ms), ("first byte", row.first_byte_ms))
    ]


def _group_name(by: str, group_id: str | None, name: str | None) -> str:
    if name:
        return name
    return f"deleted ({group_id})" if group_id else WITHOUT.get(by, "none")
