"""Prices in words: before and after a change."""

from typing import Final

from admin_api.cli.cells import time_text
from admin_api.cli.columns import columns
from admin_api.cli.session import table
from admin_api.operations.models.price_fields import PRICE_FIELDS
from admin_api.schemas.prices import NewPricesView, PriceChangeView, PriceTierView, PriceView

CHANGES: Final = columns("price", "before", "now")


def change_text(view: PriceChangeView, model: str, *, is_preview: bool = False) -> str:
    """The whole price with what it was, what an ordinary call costs, and the calls that are priced again."""
    rows = []
    before, after = (_prices(price) for price in (view.previous, view))
    for name in dict.fromkeys([*PRICE_FIELDS.values(), *before, *after]):
        if name in before or name in after:
            rows.append({"price": name, "before": before.get(name), "now": after.get(name)})
    was = view.previous.ordinary_call_usd if view.previous else None
    lines = [
        _headline(view, model, is_preview=is_preview),
        table(rows, CHANGES),
        f"A call of 1,000 tokens in and 500 out: {_usd(was)} before, {_usd(view.ordinary_call_usd)} now. "
        + ("Charged is LiteLLM's figure where it is higher." if view.charge == "higher" else ""),
    ]
    if view.repriced is not None:
        lines.append(repriced_text(view.repriced, is_preview=is_preview))
    return "\n".join(line.rstrip() for line in lines)


def repriced_text(view: NewPricesView, *, is_preview: bool) -> str:
    """One sentence for each kind of call."""
    verb = "would be" if is_preview else "were"
    lines = [
        f"{view.changed} of {view.calls} calls since {time_text(view.since, seconds=True)} {verb} priced again: "
        f"{view.was_usd} USD before, {view.cost_usd} USD now."
    ]
    if view.unknown:
        lines.append(f"{view.unknown} stay: their rows do not hold all that was charged (ledger reprice prices one).")
    if view.open:
        lines.append(f"{view.open} stay: they are estimates that their row may still replace.")
    return "\n".join(lines)


def _headline(view: PriceChangeView, model: str, *, is_preview: bool) -> str:
    if is_preview:
        return f"The price of {model} would be:"
    if not view.is_new:
        return f"Price {view.id} of {model} is the same already."
    if view.effective_at > view.created_at:
        return f"Price {view.id} of {model} counts from {time_text(view.effective_at, seconds=True)}."
    return f"Price {view.id} of {model} is in force."


def _prices(view: PriceView | None) -> dict[str, str]:
    if view is None:
        return {}
    units = {name: getattr(view, name) for name in PRICE_FIELDS.values()}
    tiers = {_tier_name(tier): tier.per_million_usd or tier.each_usd for tier in view.tiers if tier.service_tier != "*"}
    return {name: usd for name, usd in (units | tiers).items() if usd is not None} | {"charge": view.charge}


def _tier_name(tier: PriceTierView) -> str:
    service = f"@{tier.service_tier}" if tier.service_tier else ""
    return f"{PRICE_FIELDS[tier.unit]}{service}" + (f">{tier.above}" if tier.above else "")


def _usd(text: str | None) -> str:
    return "no price" if text is None else f"{text} USD"
