"""The audit log: who changed what, when and why."""

from datetime import datetime
from typing import Final
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from admin_api.operations import audit
from admin_api.operations.dates import read_moment
from admin_api.operations.validation import invalid
from admin_api.portal.audit_lines import line_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, said_of
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError
from gateway.storage.audit import AuditFilter

PAGE_ROWS: Final = 50
FILTERS: Final = ("about", "actor", "action", "request_id", "since", "until")


async def show(visit: Visit) -> Page:
    """Newest first, filtered by the address of the page; each row says what was before and is now."""
    refused, rows, next_cursor, only = NONE, [], None, AuditFilter()
    try:
        only = _filter(visit)
        page = await audit.list_audit(visit.pool, visit.actor, only, limit=PAGE_ROWS, cursor=visit.query("cursor"))
        rows, next_cursor = [line_of(visit, entry) for entry in page.rows], page.next_cursor
    except GatewayError as error:
        refused = _refusal(visit, error)
    context = {
        "rows": rows,
        "chosen": {name: visit.query(name) or "" for name in FILTERS},
        **visit.paging(next_cursor),
        "export_query": urlencode(_export(only) | {"locale": visit.language}),
        "refused": refused,
    }
    return Page("admin_audit.html", visit.messages.gettext("Audit log"), context, refused.status)


def _filter(visit: Visit) -> AuditFilter:
    return AuditFilter(
        about=visit.query("about"),
        actor=visit.query("actor"),
        action=visit.query("action"),
        request_id=_request_id(visit),
        since=_moment(visit, "since"),
        until=_moment(visit, "until"),
    )


def _refusal(visit: Visit, error: GatewayError) -> Refusal:
    """What is not there is beside its field as well."""
    if error.code == "not_found":
        return Refusal(fields={"about": said_of(visit, error.message)}, status=404)
    return refusal_of(visit, error, *FILTERS)


def _request_id(visit: Visit) -> UUID | None:
    text = visit.query("request_id")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise invalid("request_id", visit.messages.gettext("An id of a request is a UUID.")) from None


def _moment(visit: Visit, name: str) -> datetime | None:
    """The beginning of a day, or a time, in the person's time zone."""
    text = visit.query(name)
    zone = ZoneInfo(visit.formats.zone)
    return None if text is None else read_moment(name, text, zone, datetime.now(zone))


def _export(only: AuditFilter) -> dict[str, str]:
    """The same filters for the route that exports."""
    values = {name: getattr(only, name) for name in FILTERS}
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in values.items()
        if value
    }
