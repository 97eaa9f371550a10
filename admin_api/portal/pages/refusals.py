"""Why a call was refused, by the id that its answer had."""

from admin_api.operations.usage.refusals import find_refused_call
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError


async def show(visit: Visit) -> Page:
    """The form; with an id, the call beside it."""
    request_id, call, refused = visit.query("request_id"), None, NONE
    if request_id is not None:
        try:
            call = await find_refused_call(visit.pool, visit.actor, request_id)
        except GatewayError as error:
            refused = _not_found(visit, error)
    context = {"request_id": request_id or "", "call": call, "refused": refused}
    return Page("refusals.html", visit.messages.gettext("Why was I refused?"), context, refused.status)


def _not_found(visit: Visit, error: GatewayError) -> Refusal:
    """Beside the field: the operation says what else became of the call."""
    if error.code == "not_found":
        return Refusal(fields={"request_id": visit.in_language(error.message)}, status=404)
    return refusal_of(visit, error, "request_id")
