"""Finds the call, the refused call or the change that an id belongs to: of an answer, or one of the caller's own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.validation import check_text
from admin_api.storage.usage import lookups
from admin_api.storage.usage.lookups import Match
from gateway.domain.ids import MAX_CLIENT_ID

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_MATCHES: Final = 50


async def look_up(pool: "Pool", actor: Actor, text: str) -> Sequence[Match]:
    """Newest first; none if nothing that is kept has the id. The id of an answer (`x-request-id`) is also LiteLLM's id
    of the call. For admins and read-only admins. Raises GatewayError `forbidden`, `validation_failed`."""
    require_reader(actor)
    wanted = check_text("id", text, least=1, maximum=MAX_CLIENT_ID)
    found: Sequence[Match] = []
    async with pool.acquire() as connection:
        if (request_id := _as_uuid(wanted)) is not None:
            found = await lookups.find_by_request(connection, request_id)
        return found or await lookups.find_by_client_id(connection, wanted, limit=MAX_MATCHES)


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
