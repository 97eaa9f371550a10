"""Values as text for a terminal: in one line, without what a terminal would take for a command."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from unicodedata import combining, east_asian_width

from admin_api.cli.columns import Kind
from admin_api.schemas.value_texts import MOMENT

NOTHING: Final = "-"
IS_USD: Final = re.compile("(?<!_nano)_usd$")
# Columns of a limit, whose cells `limit_cells` makes.
OF_LIMIT: Final = ("id", "level", "applies_to", "model", "kind", "window", "amount")


def time_text(moment: datetime, zone: tzinfo = UTC, *, seconds: bool = False) -> str:
    """`2026-11-29 14:20Z`, in another zone `2026-11-29 15:20+01`. Options take it as a time."""
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        # On the last day of the year 9999.
        local = moment.astimezone(UTC)
    offset = "Z" if str(local.tzinfo) == "UTC" else local.strftime("%z").removesuffix("00")
    offset = offset if len(offset) < 5 else f"{offset[:3]}:{offset[3:]}"
    return f"{local:%Y-%m-%d %H:%M:%S}{offset}" if seconds else f"{local:%Y-%m-%d %H:%M}{offset}"


def times_as_text(text: str, zone: tzinfo = UTC) -> str:
    """A sentence, with the times in it to the second."""
    return MOMENT.sub(lambda found: time_text(datetime.fromisoformat(found[0]), zone, seconds=True), text)


def cell_text(value: Any, kind: Kind = Kind.NAME, zone: tzinfo = UTC) -> str:
    """One line, whatever the value; `-` if there is none."""
    if value is None or value == [] or value == "":
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if MOMENT.fullmatch(text):
        return time_text(datetime.fromisoformat(text), zone, seconds=kind is Kind.INSTANT)
    return printable(" ".join(text.split())) or NOTHING


def printable(text: str) -> str:
    """A line of text without what a terminal takes for a command, or what hides or turns other text."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "�" for one in text)


def with_units(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its money as `25 USD`, in the columns where other rows have counts: `amount_usd` in `amount`."""
    usd = {
        name.removesuffix("_usd"): f"{value} USD"
        for name, value in row.items()
        if IS_USD.search(name) and value is not None
    }
    return {**row, **usd}


def owner_text(account: str | None, email: str | None) -> str | None:
    """`red`, `ana@example.org`, or `ana@example.org in red`. A personal account has the name of its user."""
    return f"{email} in {account}" if account and email and account != email else email or account


def key_text(name: str | None, last_four: str | None) -> str | None:
    """`ci …x7Qw`, or `…x7Qw` of a key without a name."""
    return f"{name or ''} …{last_four}".strip() if last_four else None


def target_text(owner: str | None, key: str | None) -> str | None:
    """What a limit applies to: an owner, or a key of theirs."""
    return f"{key} of {owner}" if key and owner else key or owner


def limit_cells(limit: dict[str, Any]) -> dict[str, Any]:
    """The cells of a limit: whose it is in one column, money as `25 USD`."""
    owner = owner_text(limit["account_name"], limit["user_email"])
    applies_to = target_text(owner, key_text(limit["key_name"], limit["key_last_four"]))
    return with_units(limit) | {"applies_to": applies_to, "shadow": limit["shadow"] or None}


def width_of(text: str) -> int:
    """Columns of a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most this width, broken at spaces; a word longer than a line is broken where the line ends."""
    lines = [""]
    for word in text.split(" "):
        for part in _parts(word, width):
            joined = f"{lines[-1]} {part}" if lines[-1] else part
            if width_of(joined) <= width:
                lines[-1] = joined
            else:
                lines.append(part)
    return lines


def _parts(word: str, width: int) -> Iterator[str]:
    if width_of(word) <= width:
        yield word
        return
    part, taken = "", 0
    for one in word:
        needed = width_of(one)
        if taken + needed > width:
            yield part
            part, taken = "", 0
        part, taken = part + one, taken + needed
    yield part
