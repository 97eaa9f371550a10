"""`Idempotency-Key` on every POST with a login: a repeated request gets the first answer and changes nothing.

A stored answer belongs to the login and role that asked, and to the method, path, query and body: another token of the
same user does its own work, and is never shown what the first one created.

Answers of 2xx are stored for 24 hours, encrypted (AES-256-GCM), since one may show a new key. Any other answer
releases the key: nothing was changed, and the request may be sent again. The key stays taken if the program dies
before the answer is stored, the connection to Postgres breaks during the work, or the work fails with an unexpected
error: then the outcome is unknown, and repeating the work could do it twice.
"""

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from admin_api.encryption import EncryptionError
from admin_api.operations.actors import Actor
from admin_api.operations.maintenance.secrets import ANSWER, row_of_answer
from admin_api.operations.validation import invalid
from admin_api.storage import idempotency_keys
from gateway.domain.errors import GatewayError
from gateway.storage import failures
from gateway.web.responses import Message, Send

if TYPE_CHECKING:
    from admin_api.settings import Settings
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)
HEADER: Final = "idempotency-key"
MAX_CHARACTERS: Final = 200
# No request takes longer.
AT_WORK_S: Final = 60.0


class Replay(Exception):
    """Raised instead of doing the work: the stored answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body

    def response(self) -> Response:
        """The stored answer, marked as repeated."""
        headers = {"idempotent-replayed": "true"}
        return Response(self.body, self.status, headers, "application/json" if self.body else None)


class Claim:
    """A key taken by this request. The answer is stored before it is sent."""

    def __init__(self, pool: "Pool", settings: "Settings", caller: str, key: str) -> None:
        self._pool, self._settings = pool, settings
        self._caller, self._key = caller, key
        self._held: list[Message] = []
        self.is_outcome_known = True

    async def pass_on(self, message: Message, send: Send) -> None:
        """Sends the answer once it is complete and stored."""
        self._held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            held, self._held = self._held, []
            await self._keep(held[0]["status"], b"".join(part.get("body", b"") for part in held))
            for one in held:
                await send(one)

    async def _keep(self, status: int, body: bytes) -> None:
        if not self.is_outcome_known:
            return
        whose = {"caller": self._caller, "key": self._key}
        try:
            async with self._pool.acquire() as connection:
                if 200 <= status < 300:
                    keys = self._settings.encryption_keys
                    encrypted = keys.encrypt(body, purpose=ANSWER, row=row_of_answer(**whose))
                    await idempotency_keys.update_answer(connection, **whose, status=status, answer=encrypted)
                else:
                    await idempotency_keys.delete_key(connection, **whose)
        except failures.POSTGRES_FAILED as exc:
            log.warning("answer_not_kept", cause=failures.cause_of(exc))


async def claim_key(request: Request, actor: Actor) -> None:
    """Takes the key, if the request has one. Raises Replay; GatewayError `idempotency_key_reused` for another request
    with the same key, `conflict` while the first is running or its outcome is unknown."""
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST":
        return
    if not 1 <= len(key) <= MAX_CHARACTERS or not (key.isascii() and key.isprintable()):
        raise invalid(HEADER, f"{HEADER} has 1 to {MAX_CHARACTERS} printable ASCII characters, as a UUID.")
    settings: Settings = request.app.state.settings
    pool: Pool = request.app.state.pool
    if not actor.login:
        raise RuntimeError("an actor of a request has a login")
    caller = f"{actor.login} {actor.role}"
    request_hash = await _hash_of(request)
    async with pool.acquire() as connection:
        await idempotency_keys.delete_old(connection)
        is_new = await idempotency_keys.insert_key(connection, caller=caller, key=key, request_hash=request_hash)
        kept = None if is_new else await idempotency_keys.find_key(connection, caller=caller, key=key)
    if is_new:
        request.state.claim = Claim(pool, settings, caller, key)
    else:
        _answer_again(kept, request_hash, settings, row_of_answer(caller=caller, key=key))


async def _hash_of(request: Request) -> bytes:
    """Of all that says what to do. As JSON, so that no two requests have the same text before the body."""
    asked = [request.method, request.scope["path"], request.url.query, request.headers.get("if-match")]
    return hashlib.sha256(json.dumps(asked).encode() + b"\n" + await request.body()).digest()


def _answer_again(
    kept: idempotency_keys.KeptRequest | None, request_hash: bytes, settings: "Settings", row: str
) -> None:
    if kept is not None and kept.request_hash != request_hash:
        raise GatewayError("idempotency_key_reused", f"Another request was sent with this {HEADER}: use a new one.")
    if kept is None or (kept.status is None and kept.age_s < AT_WORK_S):
        message = "The first request with this key is running or has just failed; try again in a second."
        raise GatewayError("conflict", message, headers={"retry-after": "1"})
    if kept.status is not None and kept.answer is not None:
        with suppress(EncryptionError):
            raise Replay(kept.status, settings.encryption_keys.decrypt(kept.answer, purpose=ANSWER, row=row))
    raise GatewayError(
        "conflict",
        "The outcome of the first request with this key is unknown: check the current state, then use a new key.",
    )
