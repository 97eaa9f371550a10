"""Changed values in words, for people who read the audit log: `role: user → admin`, `amount: 10 USD → 25 USD`."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.domain.limits import LIMIT_KINDS, amount_text
from gateway.domain.money import Money

# As operations, the gateway and rows write a time, also within other texts.
MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)")
NANO_END: Final = "_nano_usd"
NOTHING: Final = "none"
# Writes the value of a field; the last is the kind of the limit that the values are of, None if they are of none.
Write = Callable[[str, Any, Any], str]


def plain_text(field: str, value: Any, kind: Any) -> str:
    """In English, times and numbers as in JSON."""
    if is_amount(field, kind) and (value is None or type(value) is int):
        return amount_text(kind, value)
    if value is None or value in ("", []):
        return NOTHING
    if field.endswith(NANO_END) and type(value) is int:
        return str(Money(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(plain_text("", one, None) for one in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def is_amount(field: str, kind: Any) -> bool:
    """Whether the field is the amount of a limit of a known kind."""
    return field.removesuffix(NANO_END) == "amount" and kind in LIMIT_KINDS


def in_words(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, write: Write = plain_text) -> list[str]:
    """One text for each field: what it is now, and what it was if the row has both. Fields that stayed are left out,
    unless that is all there is."""
    before, after = old or {}, new or {}
    kind = after.get("kind", before.get("kind"))
    texts = []
    for field in dict.fromkeys((*before, *after)):
        name = field.removesuffix(NANO_END).replace("_", " ")
        was, now = (write(field, side.get(field), kind) for side in (before, after))
        nothing = write("", None, None)
        if new is None:
            texts.append(f"{name}: {was} → {nothing}")
        elif old is None or field not in before:
            texts.append(f"{name}: {now}")
        elif was != now:
            texts.append(f"{name}: {was} → {now if field in after else nothing}")
    return texts
