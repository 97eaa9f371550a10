"""Texts of e-mails in the user's language, and of chat messages in English. No I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from admin_api.operations.notifications.email_phrases import (
    DIGEST,
    INVITATIONS,
    KEY_ENDS,
    KEY_REASONS,
    KINDS,
    LEVELS,
    LIMIT,
    MARKS,
    NEW_KEY,
    REASON,
    REQUESTS,
    SUBSCRIPTIONS,
    TEST,
    WINDOWS,
)
from admin_api.operations.notifications.request_phrases import KINDS_PER_MINUTE, REQUEST_EVENTS
from gateway.domain.money import usd_text

DEFAULT_LOCALE: Final = "en"
# Messages shown in one digest.
MAX_DIGEST: Final = 50


def write_email(event: str, data: Mapping[str, Any], locale: str | None) -> tuple[str, str]:
    """Subject (one line) and text of an event's e-mail, in English for languages without texts."""
    language = _language(locale)
    if event == "limit.threshold_reached":
        return _about_limit(data, language)
    if event == "team.invited":
        return _about_invitation(data, language)
    if event == "requests.pending":
        return _about_requests(data, language)
    if event in KEY_ENDS[language]:
        return _about_idle_key(event, data, language)
    if event.startswith(("limit.request", "team.join_")):
        return _about_request(event, data, language)
    if event == "webhook.test":
        return TEST[0], TEST[1].format(by=data["by"]) + "\n"
    subject, sentence, todo = SUBSCRIPTIONS[language][event.removeprefix("subscription.")]
    names = {"model": data["model"], "account": data["account"]}
    lines = [sentence.format(**names)]
    if data.get("reason"):
        lines.append(REASON[language].format(reason=data["reason"]))
    return one_line(subject.format(**names)), "\n\n".join([*lines, todo]) + "\n"


def write_digest(entries: Sequence[tuple[datetime, str, Mapping[str, Any]]], locale: str | None) -> tuple[str, str]:
    """Subject and text of one e-mail for several messages, each with its time, event and data, oldest first."""
    texts, parts, subject = DIGEST[_language(locale)], [], ""
    for at, event, data in entries[-MAX_DIGEST:]:
        subject, text = write_email(event, data, locale)
        parts.append(f"{_moment(at.isoformat(), 'UTC')}: {subject}\n\n{text}")
    more = len(entries) - len(parts)
    if more:
        parts.insert(0, texts["more"].format(more=more) + "\n")
    return texts["subject"].format(count=len(entries), last=subject), f"\n{'-' * 20}\n".join(parts)


def _language(locale: str | None) -> str:
    return locale if locale is not None and locale in LIMIT else DEFAULT_LOCALE


def _about_requests(data: Mapping[str, Any], language: str) -> tuple[str, str]:
    texts = REQUESTS[language]
    lines = []
    for row in data["requests"]:
        text = texts["lines" if row.get("limit_request_id") is None else "limits"]
        lines.append("- " + one_line(text.format(**row | {"since": _moment(row["since"], "UTC")})))
    more = data["count"] - len(lines)
    if more:
        lines.append(texts["more"].format(more=more))
    return texts["subject"].format(count=data["count"]), "\n".join(lines) + f"\n\n{texts['todo']}\n"


def _about_invitation(data: Mapping[str, Any], language: str) -> tuple[str, str]:
    subject, sentence, todo = INVITATIONS[language][data["role"]]
    names = {"team": data["team"], "by": data["by"], "end": _moment(data["expires_at"], "UTC")}
    return one_line(subject.format(**names)), f"{sentence.format(**names)}\n\n{todo.format(**names)}\n"


def _about_request(event: str, data: Mapping[str, Any], language: str) -> tuple[str, str]:
    """For more of a limit, or to join a team: made or decided."""
    subject, sentence, todo = REQUEST_EVENTS[language][f"{event} {data['status']}" if "status" in data else event]
    names: dict[str, Any] = {"team": data.get("team"), "user": data["user"], "by": data.get("by")}
    if event.startswith("limit."):
        names["key"] = data["key"] or f"…{data['key_last_four']}"
        names |= {"model": data["model"], "account": data["account"]}
        names["what"] = LEVELS[language][data["level"]].format(**names)
        names["kind"] = {**KINDS[language], **KINDS_PER_MINUTE[language]}[data["kind"]]
        for name in ("limit", "requested", "granted"):
            amount = data.get(f"{name}_nano_usd", data.get(name))
            names[name] = None if amount is None else _amount(amount, data["kind"], language)
    lines = [sentence.format(**names)]
    if data.get("reason"):
        lines.append(REASON[language].format(reason=data["reason"]))
    return one_line(subject.format(**names)), "\n\n".join([*lines, todo]) + "\n"


def _about_idle_key(event: str, data: Mapping[str, Any], language: str) -> tuple[str, str]:
    subject, sentence = KEY_ENDS[language][event]
    why, todo = KEY_REASONS[language][data["reason"]]
    names = {
        "key": data["key"] or f"…{data['key_last_four']}",
        "account": data["account"],
        "user": data["user"],
        "end": _moment(data.get("ends_at"), "UTC"),
        "why": why.format(days=data["days"]),
    }
    last = todo.format(**names) if event == "key.ending" else NEW_KEY[language]
    return one_line(subject.format(**names)), f"{sentence.format(**names)}\n\n{last}\n"


def _about_limit(data: Mapping[str, Any], language: str) -> tuple[str, str]:
    texts = LIMIT[language]
    key = data["key"] or f"…{data['key_last_four']}"
    names = {"key": key, "model": data["model"], "account": data["account"], "user": data["user"]}
    what = LEVELS[language][data["level"]].format(**names)
    # Money has names of its own; messages of before had not.
    used, limit = (data.get(f"{name}_nano_usd", data[name]) for name in ("used", "limit"))
    figures = {
        "what": what,
        "threshold": data["threshold_percent"],
        "used": _amount(used, data["kind"], language),
        "limit": _amount(limit, data["kind"], language),
        "kind": KINDS[language][data["kind"]],
        "window": WINDOWS[language][data["window"]],
        "percent": used * 100 // limit,
        "forecast": _moment(data["forecast_at"], data["time_zone"]),
        "end": _moment(data["window_end"], data["time_zone"]),
    }
    lines = [texts["used"]]
    # A lifetime window never resets.
    ends = "" if data["window_end"] else " for good"
    if used >= limit:
        lines.append(texts["reached" + ends])
    elif data["forecast_at"]:
        lines.append(texts["forecast"])
    if data["window_end"]:
        lines.append(texts["reset"])
    lines.append(texts["todo" + ends])
    return one_line(texts["subject"].format(**figures)), "\n\n".join(line.format(**figures) for line in lines) + "\n"


def _amount(number: int, kind: str, language: str) -> str:
    """A number in the format of the language."""
    whole, _, parts = (usd_text(number) if kind == "cost" else str(number)).partition(".")
    between, before = MARKS[language]
    return f"{int(whole):,}".replace(",", between) + (before + parts if parts else "")


def _moment(text: str | None, time_zone: str) -> str | None:
    if text is None:
        return None
    return datetime.fromisoformat(text).astimezone(ZoneInfo(time_zone)).strftime("%Y-%m-%d %H:%M") + f" ({time_zone})"


def one_line(text: str) -> str:
    """For a header: a line break in a name must not start another header."""
    return " ".join(text.split())
