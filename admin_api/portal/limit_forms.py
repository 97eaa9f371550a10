"""The fields of forms that set a limit: which, how much, and why."""

from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.limits.parsing import UNLIMITED, check_kind
from admin_api.portal.form_values import amount_of_kind, needed
from admin_api.portal.limit_texts import NAMES, name_of
from admin_api.portal.visits import Visit


def kind_choices(visit: Visit) -> list[tuple[str, str]]:
    """As options of a field: `cost:month`, and its text."""
    return [(f"{kind}:{window or ''}", name_of(visit, kind, window)) for kind, window in NAMES]


def limit_input_of(visit: Visit, *, takes_unlimited: bool = False) -> LimitInput:
    """What was typed. Where the form `takes_unlimited`, that removes the limit. Raises GatewayError
    `validation_failed`."""
    kind_text, _, window = needed(visit, "kind").partition(":")
    kind = check_kind(kind_text)
    typed = needed(visit, "amount").lower()
    is_unlimited = takes_unlimited and typed in (UNLIMITED, visit.messages.gettext("unlimited"))
    return LimitInput(
        kind=kind,
        amount=None if is_unlimited else amount_of_kind(visit, "amount", kind),
        window=window or None,
        reason=visit.field("reason"),
        confirmed=visit.field("confirm") is not None,
    )
