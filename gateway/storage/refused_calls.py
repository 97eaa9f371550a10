"""Keeps refused calls to be looked up by their request ids: some of each account and minute, so that a flood of them
neither fills the disk nor slows the worker."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import structlog

from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.keys import without_secrets
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.missing_models import CAUSE, JOIN_ASKED

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# Of one worker: the first of each account in a minute, and of all accounts.
MAX_OF_ACCOUNT: Final = 10
MAX_A_MINUTE: Final = 2_000
MINUTE_S: Final = 60.0
WRITE_S: Final = 2.0
MAX_MESSAGE: Final = 1000
MAX_MODEL: Final = 255
# What waits while Postgres is away.
MAX_WAITING: Final = 10_000

# Which model_not_found it was is what the gateway knew, or else what is stored now, some seconds later.
ADD_REFUSED_CALLS: Final = f"""
INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, model_asked, endpoint, status, code,
    message, param, details, client_request_id, missing_cause)
SELECT r.request_id, r.at, r.account_id, r.user_id, r.api_key_id, r.model_asked, r.endpoint, r.status, r.code,
    r.message, r.param, r.details, r.client_request_id,
    CASE WHEN r.code = 'model_not_found' AND r.model_asked IS NOT NULL THEN
        coalesce(r.details->>'status', CASE WHEN r.details ? 'renamed_to' THEN 'renamed' END, {CAUSE}) END
FROM jsonb_to_recordset($1::jsonb) AS r (request_id uuid, at timestamptz, account_id bigint, user_id bigint,
    api_key_id bigint, model_asked text, endpoint text, status smallint, code text, message text, param text,
    details jsonb, client_request_id text)
{JOIN_ASKED} AND r.code = 'model_not_found'
ON CONFLICT (request_id) DO NOTHING
"""


class RefusedCalls:
    """`keep` is called by refused calls; `write` writes what waits."""

    def __init__(self, pool: "Pool", *, clock: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._waiting: list[dict[str, Any]] = []
        self._kept: Counter[int] = Counter()
        self._number = 0
        self._until = 0.0

    def has_room(self, account_id: int) -> bool:
        """Whether another one of this account is kept; counts it then."""
        now = self._clock()
        if now >= self._until:
            self._kept.clear()
            self._number = 0
            self._until = now + MINUTE_S
        is_full = self._kept[account_id] >= MAX_OF_ACCOUNT or len(self._waiting) >= MAX_WAITING
        if is_full or self._number >= MAX_A_MINUTE:
            return False
        self._kept[account_id] += 1
        self._number += 1
        return True

    def keep(
        self,
        request_id: UUID,
        record: KeyRecord,
        error: GatewayError,
        *,
        model: str | None,
        endpoint: str | None,
        client_request_id: str | None,
    ) -> None:
        """One refused call of a known key, if there is room."""
        if self.has_room(record.account_id):
            self._waiting.append(
                {
                    "request_id": request_id,
                    "at": datetime.now(UTC),
                    "account_id": record.account_id,
                    "user_id": record.user_id,
                    "api_key_id": record.key_id,
                    "model_asked": _text(model, MAX_MODEL),
                    "endpoint": endpoint,
                    "status": error.status,
                    "code": error.code,
                    "message": _text(error.message, MAX_MESSAGE),
                    "param": _text(error.param, MAX_MODEL),
                    "details": _stored(error.details),
                    "client_request_id": client_request_id,
                }
            )

    async def run(self) -> None:
        """Writes each WRITE_S, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_S)
            await self.write()

    async def write(self) -> None:
        """Writes to Postgres; keeps what waits when Postgres is away."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            await self._pool.execute(ADD_REFUSED_CALLS, msgspec.json.encode(waiting).decode())
        except asyncio.CancelledError:
            # The app stops, and writes once more.
            self._waiting[:0] = waiting
            raise
        except POSTGRES_FAILED as exc:
            self._waiting[:0] = waiting[:MAX_WAITING]
            log.warning("refused_calls_not_written", cause=str(exc))


def _text(text: str | None, maximum: int) -> str | None:
    """As Postgres takes it: no NUL, no half of a surrogate pair. A key that was sent in the place of a model, say, is
    not kept."""
    if text is None:
        return None
    return without_secrets(text)[:maximum].replace("\0", "").encode("utf-8", "replace").decode()


def _stored(details: Any) -> Any:
    """The same for every text of an error's details."""
    if isinstance(details, str):
        return _text(details, MAX_MESSAGE)
    if isinstance(details, Mapping):
        return {_text(str(name), MAX_MODEL): _stored(value) for name, value in details.items()}
    return [_stored(one) for one in details] if isinstance(details, list | tuple) else details
