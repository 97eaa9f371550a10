"""What one call took, as the playground writes it."""

from collections.abc import Mapping
from typing import Final

from admin_api.operations.playground.chats import CallFigures
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit

# By what the gateway's headers x-ratelimit-* count: what is left.
LEFT: Final[Mapping[str, str]] = {
    "requests": marked("Requests left"),
    "tokens": marked("Tokens left"),
}


def figures_of(visit: Visit, found: CallFigures | None, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Terms and texts: of the ledger's row, and what the tightest limits had left when the call began."""
    _, formats = visit.messages.gettext, visit.formats
    figures = []
    if found is not None:
        row = found.row
        tokens = _("%(input)s in, %(output)s out") % {
            "input": formats.number(row.prompt_tokens),
            "output": formats.number(row.completion_tokens),
        }
        cost = _("no price") if row.cost_nano_usd is None else formats.nano_usd(row.cost_nano_usd)
        figures += [(_("Tokens"), tokens), (_("Cost"), cost)]
        if row.first_byte_ms is not None:
            figures.append((_("Time to the first token"), formats.seconds(row.first_byte_ms / 1000)))
        if found.tokens_per_s is not None:
            figures.append((_("Tokens a second"), formats.number(round(found.tokens_per_s, 1))))
    figures += [(_(text), left) for name, text in LEFT.items() if (left := _left(visit, name, headers))]
    return [*figures, (_("Id of the request"), headers.get("x-request-id", "–"))]


def _left(visit: Visit, name: str, headers: Mapping[str, str]) -> str | None:
    left, limit = (headers.get(f"x-ratelimit-{what}-{name}", "") for what in ("remaining", "limit"))
    if not (left.isdecimal() and limit.isdecimal()):
        return None
    numbers = {"left": visit.formats.number(int(left)), "limit": visit.formats.number(int(limit))}
    return visit.messages.gettext("%(left)s of %(limit)s") % numbers
