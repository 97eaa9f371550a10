"""May this key call this model, whatever its limits? The gateway asks it of each call, the admin side to explain."""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord, Withheld
from gateway.domain.model_status import SAYS

Address = IPv4Address | IPv6Address
_MAX_NAME: Final = 100


def check_access(record: KeyRecord, address: Address | None, model: str, now: datetime) -> Grant:
    """All of it, in the gateway's order. `address` None: from one that the key allows."""
    check_key(record, now)
    if address is not None:
        check_address(record, address)
    return find_grant(record, model, now)


def check_key(record: KeyRecord, now: datetime) -> None:
    """Raises GatewayError `invalid_api_key`, `api_key_expired`, `team_archived`, `account_suspended`."""
    if record.is_archived:
        raise GatewayError("invalid_api_key", "This API key was archived.")
    if record.is_revoked:
        raise GatewayError("invalid_api_key", "This API key was revoked.")
    if record.expires_at is not None and record.expires_at <= now:
        raise GatewayError("api_key_expired", f"This API key expired at {record.expires_at.isoformat()}.")
    if record.is_team_archived:
        raise GatewayError("team_archived", "The team of this API key is archived. An admin can unarchive it.")
    if not record.is_account_active:
        message = f"The account of this API key is suspended{_because(record.account_reason)}."
        raise GatewayError("account_suspended", message, details=_reason(record.account_reason))
    if record.has_left_team:
        raise GatewayError("account_suspended", "The user of this API key is not a member of its team any more.")
    if not record.is_user_active:
        message = f"The user of this API key is deactivated{_because(record.user_reason)}."
        raise GatewayError("account_suspended", message, details=_reason(record.user_reason))


def check_address(record: KeyRecord, address: Address | None) -> None:
    """Raises GatewayError `ip_not_allowed` if the key is restricted to addresses that do not include this one."""
    if record.allowed_ips and not any(
        address is not None and address.version == network.version and address in network
        for network in record.allowed_ips
    ):
        raise GatewayError("ip_not_allowed", f"This API key may not be used from {address or 'an unknown address'}.")


def find_grant(record: KeyRecord, model: str, now: datetime) -> Grant:
    """The key's grant for exactly this model. Raises GatewayError `subscription_suspended`, or `model_not_found`; a
    model that is unknown and one that is not the key's have the same answer."""
    grant = record.grants.get(model)
    if grant is None:
        raise _missing(record, model)
    if grant.is_over(now):
        raise withheld_error(expired(grant))
    return grant


def expired(grant: Grant) -> Withheld:
    """A grant whose subscription has run out, which the scheduler has not noted yet."""
    return Withheld(model_id=grant.model_id, model_name=grant.model_name, status="expired")


def list_unavailable(record: KeyRecord, now: datetime) -> list[Withheld]:
    """The models of the key to which the subscription is not active, by name: those that LiteLLM has lost, or an admin
    disabled, are not offered at all."""
    over = [expired(grant) for grant in record.grants.values() if grant.is_over(now)]
    found = [*over, *(one for one in record.withheld.values() if one.status not in ("unlisted", "disabled"))]
    return sorted(found, key=lambda one: one.model_name)


def withheld_error(one: Withheld) -> GatewayError:
    """The answer for a call of it."""
    code = "subscription_suspended" if one.status == "suspended" else "model_not_found"
    return GatewayError(code, _why(one), param="model", details={"status": one.status, **_reason(one.reason)})


def _missing(record: KeyRecord, model: str) -> GatewayError:
    if (one := record.withheld.get(model)) is not None:
        return withheld_error(one)
    if (name := record.renamed.get(model)) is not None:
        message = f"The model '{model[:_MAX_NAME]}' is called '{name[:_MAX_NAME]}' now."
        return GatewayError("model_not_found", message, param="model", details={"renamed_to": name})
    message = f"The model '{model[:_MAX_NAME]}' does not exist or this API key may not use it."
    return GatewayError("model_not_found", message, param="model")


def _why(one: Withheld) -> str:
    name = one.model_name[:_MAX_NAME]
    if one.status in ("unlisted", "disabled"):
        return f"The model '{name}' {SAYS[one.status]}."
    is_ = {"pending": "waits for an admin's approval", "expired": "has expired"}
    return f"The subscription to '{name}' {is_.get(one.status, f'is {one.status}')}{_because(one.reason)}."


def _reason(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}


def _because(reason: str | None) -> str:
    return f" ({reason.rstrip('.')})" if reason else ""
