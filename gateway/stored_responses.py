"""Responses that are stored at the provider belong to an account. LiteLLM gives any of them to the gateway's one key,
so their ids are looked up before anything is sent."""

from typing import Final

from msgspec.structs import replace

from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.endpoints.requests import Call
from gateway.endpoints.stored_items import StoredItems
from gateway.storage.response_owners import OwnersUnavailable, ResponseOwners, StoredResponse, hash_of

# Of the letters before an item's number: `rs`, `msg`, `ig`.
MAX_KIND: Final = 8


async def find_response(owners: ResponseOwners, record: KeyRecord, response_id: str, param: str) -> StoredResponse:
    """A response of the caller's account. Raises `response_not_found`, `database_unavailable`."""
    try:
        found = await owners.find(record.account_id, response_id)
    except OwnersUnavailable:
        raise _unavailable() from None
    if found is None:
        raise not_found(response_id, param)
    return found


def _unavailable() -> GatewayError:
    message = "Whose this response is cannot be looked up at this moment, so the call is refused. Try again."
    return GatewayError("database_unavailable", message, headers={"retry-after": "5"})


def not_found(response_id: str, param: str) -> GatewayError:
    """Unknown, over, or of another account: one answer."""
    message = f"The response '{response_id[:100]}' does not exist, is not stored any more, or is not yours."
    return GatewayError("response_not_found", message, param=param)


async def continue_conversation(call: Call, record: KeyRecord, owners: ResponseOwners) -> Call:
    """The call with the tokens of the conversation that it continues, which the provider puts before its prompt."""
    response_id, param = call.continues or "", "previous_response_id"
    found = await find_response(owners, record, response_id, param)
    if found.tokens is None:
        raise not_found(response_id, param)
    return call if call.is_free else replace(call, stored_tokens=found.tokens)


async def name_own_items(call: Call, items: StoredItems, record: KeyRecord, owners: ResponseOwners) -> Call:
    """The call with no id of another account's item: one that says something itself is sent under a name that nobody
    has, for servers that store nothing want an id too. Raises `response_not_found` for one that is but an id."""
    try:
        owned = await owners.find_all(record.account_id, items.ids, items.bare)
    except OwnersUnavailable:
        raise _unavailable() from None
    foreign = [name for name in items.ids if name not in owned]
    if refused := foreign if items.rename is None else items.bare.intersection(foreign):
        raise not_found(min(refused), items.param)
    # What is stored under an id is part of the prompt.
    bound = call.prompt_bytes + sum(found.tokens or 0 for found in owned.values())
    body = call.body
    if items.rename is not None and foreign:
        body = items.rename({name: _name_of_nobody(record, name) for name in foreign})
    return replace(call, body=body, prompt_bytes=bound, items=None)


def _name_of_nobody(record: KeyRecord, item_id: str) -> str:
    """The same for the same item, so that a provider's cache finds the prompt again."""
    kind = item_id.partition("_")[0]
    known = kind if kind.isascii() and kind.isalnum() and len(kind) <= MAX_KIND else "item"
    return f"{known}_{hash_of(record.account_id, item_id).hex}"
