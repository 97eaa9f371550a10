"""Responses that are stored at the provider belong to an account. LiteLLM gives any of them to the gateway's one key,
so their ids are looked up before anything is sent."""

from dataclasses import replace

from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.endpoints.requests import Call
from gateway.storage.response_owners import OwnersUnavailable, ResponseOwners, StoredResponse


async def find_response(owners: ResponseOwners, record: KeyRecord, response_id: str, param: str) -> StoredResponse:
    """A response of the caller's account. Raises `response_not_found`, `database_unavailable`."""
    try:
        found = await owners.find(record.account_id, response_id)
    except OwnersUnavailable:
        message = "Whose this response is cannot be looked up at this moment, so the call is refused. Try again."
        raise GatewayError("database_unavailable", message, headers={"retry-after": "5"}) from None
    if found is None:
        raise not_found(response_id, param)
    return found


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
    return replace(call, prompt_tokens=call.prompt_tokens + found.tokens, prompt_bytes=call.prompt_bytes + found.tokens)
