"""Step 1: whose key is this?"""

from datetime import UTC, datetime
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.keys import Peppers, is_well_formed
from gateway.storage.key_cache import KeyCache, KeysUnavailable
from gateway.web.addresses import Address, is_in

HOW_TO_SEND: Final = "Send your API key as 'Authorization: Bearer sk-lm-…'."


def read_key(authorization: list[bytes], others: list[bytes]) -> str:
    """The key of a request, from `Authorization: Bearer` and from `x-api-key` or `api-key` headers.

    Raises `missing_api_key`, `conflicting_api_keys` or `invalid_api_key`.
    """
    reported = set()
    for value in authorization:
        scheme, _, secret = value.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise GatewayError("invalid_api_key", f"This authorization scheme is not supported. {HOW_TO_SEND}")
        reported.add(secret.strip())
    reported.update(value.decode("latin-1").strip() for value in others)
    reported.discard("")
    if not reported:
        raise GatewayError("missing_api_key", f"No API key was sent. {HOW_TO_SEND}")
    if len(reported) > 1:
        raise GatewayError("conflicting_api_keys", "The request carries different API keys; send one.")
    key = reported.pop()
    if not is_well_formed(key):
        raise GatewayError("invalid_api_key", "This is not a key of this gateway, or it has a typo. Check it.")
    return key


async def authenticate(key: str, peppers: Peppers, keys: KeyCache) -> KeyRecord:
    """The key's record, active now. Raises `invalid_api_key`, `api_key_expired`, `account_suspended`,
    `keys_unavailable`."""
    fingerprint = b"".join(peppers.digests(key))
    record = keys.peek(fingerprint)
    if record is None:
        try:
            record = await keys.find(fingerprint)
        except KeysUnavailable:
            message = "API keys cannot be looked up at this moment. Try again."
            raise GatewayError("keys_unavailable", message, headers={"retry-after": "2"}) from None
    if record is None:
        raise GatewayError("invalid_api_key", "This API key does not exist.")
    if record.is_revoked:
        raise GatewayError("invalid_api_key", "This API key was revoked.")
    if record.expires_at is not None and record.expires_at <= datetime.now(UTC):
        raise GatewayError("api_key_expired", f"This API key expired at {record.expires_at.isoformat()}.")
    if not record.is_account_active or not record.is_user_active:
        raise GatewayError("account_suspended", "The account or user of this API key is not active.")
    return record


def check_address(record: KeyRecord, address: Address | None) -> None:
    """Raises `ip_not_allowed` if the key is restricted to addresses that do not include this one."""
    if record.allowed_ips and (address is None or not is_in(address, record.allowed_ips)):
        raise GatewayError("ip_not_allowed", f"This API key may not be used from {address or 'an unknown address'}.")


def find_grant(record: KeyRecord, model: str) -> Grant:
    """The key's grant for exactly this model. Unknown, hidden and not permitted are one answer: `model_not_found`."""
    grant = record.grants.get(model)
    if grant is None or grant.is_over(datetime.now(UTC)):
        message = f"The model '{model[:100]}' does not exist or this API key may not use it."
        raise GatewayError("model_not_found", message, param="model")
    return grant
