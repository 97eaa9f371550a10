"""Syncs of the models with LiteLLM: what each found, and one on demand."""

from collections.abc import Mapping
from typing import Any, Final

from admin_api.operations.models import sync
from admin_api.operations.models.litellm_health import check_litellm
from admin_api.operations.models.sync import LiteLLM, SyncReport
from admin_api.portal.flashes import Flash
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 20
# Of a report, those that name models.
PARTS: Final[Mapping[str, str]] = {
    "added": marked("New"),
    "changed": marked("Changed"),
    "returned": marked("Back again"),
    "unlisted": marked("Gone"),
    "priced": marked("New price"),
    "kept_admin_prices": marked("Another price at LiteLLM; an admin's is kept"),
    "without_price": marked("Without a price"),
    "differing_prices": marked("Deployments with different prices"),
    "unused_prices": marked("Prices of LiteLLM by which nothing is charged"),
    "skipped": marked("Left out"),
    "missing": marked("Missing, and kept"),
}
# Models named in one part; the API has all.
MAX_NAMED: Final = 50


async def show(visit: Visit) -> Page:
    """Of the last month, newest first, and whether LiteLLM answers."""
    page = await sync.list_syncs(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {
        "health": await check_litellm(visit.pool, visit.actor, _litellm(visit)),
        "rows": [(row, visit.in_language(row.problem or ""), _parts(visit, row.report)) for row in page.rows],
        **visit.paging(page.next_cursor),
        "may_change": visit.actor.role == "admin",
    }
    return Page("admin_model_syncs.html", visit.messages.gettext("Syncs with LiteLLM"), context)


async def sync_now(visit: Visit) -> Redirect:
    """Says what was found, or why LiteLLM gave no list."""
    try:
        report = await sync.sync_models(
            visit.pool, visit.actor, _litellm(visit), accept_missing=visit.field("accept_missing") is not None
        )
    except GatewayError as error:
        if not error.code.startswith("upstream_"):
            raise
        return Redirect("/admin/models/syncs", Flash("danger", visit.in_language(error.message)))
    return Redirect("/admin/models/syncs", _result(visit, report))


def _result(visit: Visit, report: SyncReport | None) -> Flash:
    if report is None:
        raise RuntimeError("a sync that waits always ends with a report")
    if report.problem is not None:
        return Flash("warning", visit.in_language(report.problem))
    _ = visit.messages.gettext
    said = _("Models seen: %(seen)s. New: %(added)s. Changed: %(changed)s. Gone: %(gone)s.")
    counts = {"seen": report.seen, "added": len(report.added), "changed": len(report.changed)}
    return Flash("success", said % (counts | {"gone": len(report.unlisted)}))


def _parts(visit: Visit, report: Mapping[str, Any] | None) -> list[tuple[str, list[str], int]]:
    """Text, names and number of each part that is not empty."""
    found = []
    for part, text in PARTS.items():
        names = [str(name) for name in (report or {}).get(part) or []]
        if names:
            found.append((visit.messages.gettext(text), names[:MAX_NAMED], len(names)))
    return found


def _litellm(visit: Visit) -> LiteLLM:
    litellm: LiteLLM = visit.request.app.state.litellm
    return litellm
