"""The person's subscriptions: state, quotas and their use, prices, history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, cast

from admin_api.operations import subscriptions
from admin_api.operations.limits import limits
from admin_api.operations.models import models
from admin_api.operations.validation import invalid
from admin_api.portal.flashes import Flash
from admin_api.portal.limit_lines import LimitLine, read_lines
from admin_api.portal.price_texts import usd_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from admin_api.storage.offered_models import CatalogueFilter
from admin_api.storage.subscriptions import Subscription
from gateway.domain.prices import Price
from gateway.domain.subscriptions import Action

PAGE_ROWS: Final = 100
MAX_LIMITS: Final = 200
# What people do with their own; the rest is for admins.
OWN_ACTIONS: Final = ("cancel", "request_review")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A subscription. Prices are for a million tokens; `limits` are the tightest first, None if Redis does not
    answer."""

    row: Subscription
    status_text: str
    status_colour: str | None
    input: Decimal | None
    output: Decimal | None
    limits: Sequence[LimitLine] | None


async def show_list(visit: Visit) -> Page:
    """Of the personal account, in whatever state."""
    mine = str(visit.user.id)
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, user=mine, limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    quotas = await _quotas(visit)
    prices = await _prices(visit)
    rows = [_line(visit, row, prices, quotas) for row in page.rows]
    context = {"rows": rows, **visit.paging(page.next_cursor)}
    return Page("subscriptions.html", visit.messages.gettext("Subscriptions"), context)


async def show_one(visit: Visit) -> Page:
    """One, with its history."""
    row, history = await subscriptions.find_subscription(visit.pool, visit.actor, visit.request.path_params["id"])
    found = await limits.list_limits(visit.pool, visit.actor, level="subscription", target=str(row.id))
    context = {
        "row": row,
        "status_text": text_of(visit, row.status),
        "status_colour": colour_of(row.status),
        "limits": await read_lines(visit, found.rows),
        "history": [(one, text_of(visit, one.to_status), colour_of(one.to_status)) for one in history],
    }
    title = visit.messages.gettext("Subscription to %(model)s") % {"model": row.model_name}
    return Page("subscription.html", title, context)


async def create(visit: Visit) -> Redirect:
    """Subscribes to the model of the form."""
    _ = visit.messages.gettext
    model = visit.field("model")
    if model is None:
        raise invalid("model", "Name a model.")
    made = await subscriptions.create_subscription(visit.pool, visit.actor, model=model)
    said = (
        _("You have subscribed to %(model)s.")
        if made.status == "active"
        else _("You have asked for access to %(model)s. An admin decides.")
    )
    return Redirect("/subscriptions", Flash("success", said % {"model": model}))


async def change(visit: Visit) -> Redirect:
    """Cancels, or asks for another look."""
    _ = visit.messages.gettext
    action = visit.request.path_params["action"].replace("-", "_")
    if action not in OWN_ACTIONS:
        raise invalid("action", "There is no such action.")
    changed = await subscriptions.change_subscription(
        visit.pool, visit.actor, visit.request.path_params["id"], cast("Action", action), reason=visit.field("reason")
    )
    said = _("Your subscription to %(model)s: %(status)s.")
    return Redirect(
        "/subscriptions",
        Flash("success", said % {"model": changed.model_name, "status": text_of(visit, changed.status)}),
    )


async def _quotas(visit: Visit) -> Mapping[int, list[LimitLine]] | None:
    """By subscription; None if Redis does not answer."""
    page = await limits.list_limits(
        visit.pool, visit.actor, level="subscription", user=str(visit.user.id), limit=MAX_LIMITS
    )
    lines = await read_lines(visit, page.rows)
    if lines is None:
        return None
    found: dict[int, list[LimitLine]] = {}
    for line in lines:
        if line.row.subscription_id is not None:
            found.setdefault(line.row.subscription_id, []).append(line)
    return found


async def _prices(visit: Visit) -> Mapping[str, Price]:
    """By the model's name, those that are known."""
    page = await models.list_models(visit.pool, visit.actor, CatalogueFilter(), limit=1000)
    return {offered.model.name: offered.price.price for offered in page.rows if offered.price}


def _line(
    visit: Visit,
    row: Subscription,
    prices: Mapping[str, Price],
    quotas: Mapping[int, list[LimitLine]] | None,
) -> Line:
    price = prices.get(row.model_name)
    return Line(
        row=row,
        status_text=text_of(visit, row.status),
        status_colour=colour_of(row.status),
        input=usd_of(price, "input"),
        output=usd_of(price, "output"),
        limits=None if quotas is None else quotas.get(row.id, []),
    )
