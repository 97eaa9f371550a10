"""The start page: what to do first, what was spent, and a call to copy."""

from dataclasses import dataclass

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit

SNIPPET = """curl {base_url}/chat/completions \\
  -H "Authorization: Bearer $LITEMAAS_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""


@dataclass(frozen=True, slots=True)
class Step:
    """Something a new user does; `is_done` ticks it."""

    text: str
    path: str
    is_done: bool


async def show(visit: Visit) -> Page:
    """Of the person's own account."""
    _ = visit.messages.gettext
    mine = str(visit.user.id)
    active = await subscriptions.list_subscriptions(visit.pool, visit.actor, user=mine, status="active", limit=1)
    own_keys = await keys.list_keys(visit.pool, visit.actor, user=mine, limit=100)
    summary = await summarize(visit.pool, visit.actor, UsageFilter(user=mine, period="this-month"))
    steps = [
        Step(_("Subscribe to a model"), "/models", bool(active.rows)),
        Step(_("Create an API key"), "/api-keys", bool(own_keys.rows)),
        Step(_("Make the first call"), "/home", any(key.last_used_at for key in own_keys.rows)),
    ]
    model = active.rows[0].model_name if active.rows else None
    # Where the operator has not said which address it is, the person has to.
    base_url = f"{visit.settings.gateway_url}/v1" if visit.settings.gateway_url else "$LITEMAAS_BASE_URL"
    snippet = SNIPPET.format(base_url=base_url, model=model)
    return Page("home.html", _("Home"), {"steps": steps, "sums": summary.sums, "model": model, "snippet": snippet})
