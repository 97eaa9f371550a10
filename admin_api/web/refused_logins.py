"""A refused login is counted, logged and audited, and people see it as a page."""

from html import escape
from time import monotonic
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from admin_api import metrics
from admin_api.operations.people.refused_logins import Cause, Door, LoginRefused, audit_refusal, cause_of
from admin_api.web.addresses import address_of
from gateway.domain.errors import GatewayError
from gateway.storage import failures

log = structlog.get_logger(__name__)

# A program sends the same refused JWT with each call, and no login is needed to bring back a browser with an error: of
# such refusals one in this time is logged and audited.
NOTE_AGAIN_S: Final = 600.0
MAX_NOTED: Final = 10_000
# Anybody can cause these without being at a provider: they write nothing to the database.
OF_NOBODY: Final[tuple[Cause, ...]] = ("state_unknown", "token_not_valid")
PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Not logged in</title></head>
<body>
<main>
<h1>You are not logged in</h1>
<p>{message}</p>
<p>Request: <code>{request_id}</code> (an admin finds it in the audit log and in the log)</p>
<p><a href="/api/auth/login{query}">Log in again</a></p>
</main>
</body>
</html>
"""


async def note_refusal(request: Request, error: GatewayError, door: Door) -> None:
    """Counts each refusal; logs and audits it."""
    cause = cause_of(error)
    metrics.LOGINS_REFUSED.labels(door, cause).inc()
    about = error.about if isinstance(error, LoginRefused) else {}
    ip, request_id = address_of(request), request.state.request_id
    is_whole_login = door != "jwt" and "subject" in about
    if not is_whole_login and not _is_due(request, f"{door} {cause} {about.get('subject', ip)}"):
        return
    log.warning(
        "login_refused",
        login=door,
        request_id=str(request_id),
        message=error.message,
        **{"cause": cause},
        **about,
        **{name: error.details[name] for name in ("claim", "setting") if name in error.details},
    )
    if cause in OF_NOBODY:
        return
    try:
        await audit_refusal(request.app.state.pool, error, door, request_id=request_id, ip=ip)
    except Exception as exc:
        if failures.explain(exc) is None:
            raise
        log.warning("login_refusal_not_audited", request_id=str(request_id), cause=type(exc).__name__)


def refusal_page(request: Request, error: GatewayError, door: Door) -> Response | None:
    """A page for a browser; None for a program, which reads the error as JSON."""
    if "text/html" not in request.headers.get("accept", ""):
        return None
    query = f"?provider={door}" if door in ("oidc", "openshift") else ""
    page = PAGE.format(message=escape(error.message), request_id=request.state.request_id, query=query)
    return HTMLResponse(page, error.status, headers=error.headers)


def _is_due(request: Request, key: str) -> bool:
    state = request.app.state
    if not hasattr(state, "refusals_noted") or len(state.refusals_noted) >= MAX_NOTED:
        state.refusals_noted = {}
    noted: dict[str, float] = state.refusals_noted
    if key in noted and monotonic() - noted[key] < NOTE_AGAIN_S:
        return False
    noted[key] = monotonic()
    return True
