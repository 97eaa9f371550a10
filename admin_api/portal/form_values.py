"""Amounts, and other things that a form needs."""

from datetime import datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from admin_api.operations.limits.parsing import parse_usd
from admin_api.operations.validation import invalid
from admin_api.portal.visits import Visit
from gateway.domain.limits import Kind, is_money

MAX_DIGITS: Final = 18


def needed(visit: Visit, name: str) -> str:
    """What was typed. Raises GatewayError `validation_failed` where nothing was."""
    value = visit.field(name)
    if value is None:
        raise invalid(name, visit.messages.gettext("This is needed."))
    return value


def whole_number(text: str) -> int | None:
    """None for what is none, or has more digits than any id or amount."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def id_of(visit: Visit, name: str) -> int:
    """An id in a hidden field. Raises GatewayError `validation_failed`."""
    number = whole_number(visit.field(name) or "")
    if number is None:
        raise invalid(name, visit.messages.gettext("This is needed."))
    return number


def ids_of(visit: Visit, name: str) -> list[int]:
    """The ids of chosen rows; what is none is left out."""
    return [number for text in visit.fields(name) if (number := whole_number(text)) is not None]


def count_of(visit: Visit, name: str) -> int | None:
    """A whole number; None where nothing was typed. Raises GatewayError `validation_failed`."""
    text = visit.field(name)
    if text is None:
        return None
    return count_in(visit, name, text)


def count_in(visit: Visit, name: str, text: str) -> int:
    """Of a text of this field. Raises GatewayError `validation_failed`."""
    number = whole_number(text)
    if number is None:
        raise invalid(name, visit.messages.gettext("Write a whole number."))
    return number


def nano_usd_of(visit: Visit, name: str) -> int | None:
    """US dollars as nano-USD; None where nothing was typed. Raises GatewayError `validation_failed`."""
    text = visit.field(name)
    return None if text is None else parse_usd(name, text)


def amount_of_kind(visit: Visit, name: str, kind: Kind) -> int | None:
    """A count, or for kind cost US dollars as nano-USD; None where nothing was typed. Raises GatewayError
    `validation_failed`."""
    return nano_usd_of(visit, name) if is_money(kind) else count_of(visit, name)


def end_of_day(visit: Visit, name: str) -> datetime | None:
    """The last second of a day in the person's time zone; None where nothing was typed. Raises GatewayError
    `validation_failed`."""
    text = visit.field(name)
    if text is None:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  a day alone
    except ValueError:
        raise invalid(name, visit.messages.gettext("Write a day as 2027-01-31.")) from None
    return datetime.combine(day, time(23, 59, 59), ZoneInfo(visit.formats.zone))
