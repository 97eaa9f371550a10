"""A first call with a key that was just created or rotated, to show that it works."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from admin_api.operations.access import get_listed_key
from admin_api.operations.actors import Actor
from admin_api.operations.playground.chats import CHAT_MODES, Chat, ChatAnswer, ChatMessage, complete
from admin_api.operations.playground.gateway_link import ChatCall, GatewayLink
from admin_api.operations.validation import invalid
from admin_api.storage import api_keys, subscriptions
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, is_well_formed

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

PROMPT: Final = "Say hello in one short sentence."
# A model that reasons needs some before it says anything.
MAX_TOKENS: Final = 200


@dataclass(frozen=True, slots=True)
class KeyTrial:
    """What the model answered to the key, or why it did not."""

    model: str
    answer: ChatAnswer


async def try_key(
    pool: "Pool", link: GatewayLink, actor: Actor, peppers: Peppers, key_id: int, secret: str, *, address: str | None
) -> KeyTrial:
    """Calls the first of the key's models for conversations. The secret is that of this key, given by who was shown it;
    it is neither stored nor logged. Raises GatewayError `not_found`, `validation_failed` for another secret,
    `conflict` if the key has no such model, and if the gateway does not answer.
    """
    async with pool.acquire() as connection:
        key = await get_listed_key(connection, actor, key_id)
        digests = peppers.digests(secret) if is_well_formed(secret) else []
        if not await api_keys.has_digest(connection, key_id, digests):
            raise invalid("secret", "This is not the secret of this key.")
        names = await subscriptions.list_callable(
            connection, account_id=key.account_id, modes=CHAT_MODES, names=key.models
        )
    if not names:
        message = f"Key {key_id} has no model for conversations that can be called now: make the call in your program."
        raise GatewayError("conflict", message)
    chat = Chat(model=names[0], messages=[ChatMessage("user", PROMPT)], max_tokens=MAX_TOKENS)
    return KeyTrial(names[0], await complete(link, ChatCall(secret, chat.body(), address)))
