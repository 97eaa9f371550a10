"""What somebody else changed while a form was open: a form carries the version it was filled in from, and is refused if
that is no longer the current one."""

from typing import Final

from admin_api.operations import audit
from admin_api.portal.audit_lines import AuditLine, line_of
from admin_api.portal.forms import Refusal
from admin_api.portal.visits import Visit
from gateway.storage.audit import AuditFilter

# The hidden field of the version.
FIELD: Final = "as_of"
CHANGED: Final = 412


async def other_change(visit: Visit, about: str, refused: Refusal) -> AuditLine | None:
    """The last change of what the form is about, as `kind:id`; None unless the form was refused because of one."""
    if refused.status != CHANGED:
        return None
    found = await audit.list_audit(visit.pool, visit.actor, AuditFilter(about=about), limit=1)
    return line_of(visit, found.rows[0]) if found.rows else None
