"""Changed values in words, for people who read the audit log: `role: user → admin`, `amount: 10 USD → 25 USD`."""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.domain.limits import LIMIT_KINDS, amount_text
from gateway.domain.money import Money

NANO_END: Final = "_nano_usd"
NOTHING: Final = "none"


def in_words(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """One text for each field: what it is now, and what it was if the row has both. Fields that stayed are left out,
    unless that is all there is."""
    before, after = old or {}, new or {}
    kind = after.get("kind", before.get("kind"))
    texts = []
    for field in dict.fromkeys((*before, *after)):
        name = field.removesuffix(NANO_END).replace("_", " ")
        was, now = (_text(field, side.get(field), kind) for side in (before, after))
        if new is None:
            texts.append(f"{name}: {was} → {NOTHING}")
        elif old is None or field not in before:
            texts.append(f"{name}: {now}")
        elif was != now:
            texts.append(f"{name}: {was} → {now if field in after else NOTHING}")
    return texts


def _text(field: str, value: Any, kind: Any) -> str:
    if field.removesuffix(NANO_END) == "amount" and kind in LIMIT_KINDS and (value is None or type(value) is int):
        return amount_text(kind, value)
    if value is None or value in ("", []):
        return NOTHING
    if field.endswith(NANO_END) and type(value) is int:
        return str(Money(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text("", one, None) for one in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
