"""Checks of input fields. Each raises GatewayError `validation_failed` for its field, an InvalidInput."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, Final
from uuid import UUID
from zoneinfo import available_timezones

from gateway.domain.email_addresses import MAX_LENGTH, normalize_address
from gateway.domain.errors import GatewayError

# As in the CHECK constraints of the database.
MAX_NAME: Final = 200
MAX_REASON: Final = 1000
MAX_ADDRESSES: Final = 100
# ::ffff:0:0/96 is IPv4.
MAPPED_BITS: Final = 96


class InvalidInput(GatewayError):
    """Input that is wrong in every state of the system: in a command, the command line itself is wrong."""


def invalid(field: str, message: str) -> InvalidInput:
    """The error for one field whose value is wrong in every state of the system."""
    return InvalidInput("validation_failed", message, param=field, details=_of_field(field, message))


def invalid_now(field: str, message: str) -> GatewayError:
    """The same answer for a value that is refused because of what is stored, or set: it may be right another time."""
    return GatewayError("validation_failed", message, param=field, details=_of_field(field, message))


def unconfirmed(message: str) -> GatewayError:
    """The error for a change that has to be confirmed because of what it would change."""
    return invalid_now("confirm", f"{message} If that is meant, repeat it with confirm: true (litemaas: --confirm).")


def _of_field(field: str, message: str) -> dict[str, Any]:
    return {"fields": [{"field": field, "message": message}]}


def check_text(field: str, value: str, *, maximum: int, least: int = 0, lines: bool = False) -> str:
    """`value` without surrounding spaces. `lines` allows several lines. Raises GatewayError `validation_failed`."""
    text = value.strip()
    if not least <= len(text) <= maximum:
        raise invalid(field, f"{field} must have {least} to {maximum} characters.")
    # Postgres accepts neither NUL nor lone surrogates; other control characters are of no use in a name.
    if not (" ".join(text.split()) if lines else text).isprintable():
        raise invalid(field, f"{field} contains characters that cannot be displayed.")
    return text


def check_word(field: str, value: str, words: Sequence[str]) -> str:
    """One of `words`. Raises GatewayError `validation_failed`, which lists them."""
    if value not in words:
        raise invalid(field, f"{field} must be one of {', '.join(words)}.")
    return value


def check_email(value: str) -> str:
    """The one form of the address, in which it is stored. Checks only the form; the identity provider verifies it."""
    try:
        return normalize_address(check_text("email", value, least=3, maximum=MAX_LENGTH))
    except ValueError as exc:
        raise invalid("email", f"email {exc}.") from None


def check_reason(value: str | None, *, required: bool = False, use: str = "It is kept in the audit log.") -> str | None:
    """None if empty. Raises GatewayError `validation_failed` if it is empty but required; `use` says who reads it."""
    reason = check_text("reason", value or "", maximum=MAX_REASON, lines=True) or None
    if required and reason is None:
        raise invalid("reason", f"A reason is required. {use}")
    return reason


def status_reason(status: str | None, reason: str | None, old: str | None, *, usual: str) -> str | None:
    """The reason to keep beside a status, which is None to leave it; the `usual` status has none. Raises GatewayError
    `validation_failed` for a reason without a status."""
    if status is None:
        if reason is not None:
            raise invalid("reason", "A reason is of a status: send both.")
        return old
    return None if status == usual else check_reason(reason)


def check_time_zone(value: str) -> str:
    """An IANA name, e.g. `Europe/Madrid`."""
    if value not in _time_zones():
        raise invalid("time_zone", "time_zone must be an IANA name, e.g. Europe/Madrid or UTC.")
    return value


@lru_cache(maxsize=1)
def _time_zones() -> set[str]:
    # "localtime" and the like differ between machines.
    return {name for name in available_timezones() if "/" in name or name == "UTC"}


def check_moment(field: str, value: datetime) -> datetime:
    """The time in UTC. Rejects a time without a time zone, and one outside the years 1 to 9999 in UTC."""
    if value.tzinfo is None:
        raise invalid(field, f"{field} needs a time zone, e.g. 2027-01-31T12:00:00Z.")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise invalid(field, f"{field} must be from the year 1 to 9999 in UTC.") from None


def check_future(field: str, value: datetime | None, now: datetime | None = None) -> datetime | None:
    """A time in the future, in UTC."""
    if value is None:
        return None
    moment = check_moment(field, value)
    if moment <= (now or datetime.now(UTC)):
        raise invalid(field, f"{field} must be in the future.")
    return moment


def check_request_id(value: str) -> UUID:
    """The id of an answer."""
    try:
        return UUID(value)
    except ValueError:
        raise invalid("request_id", "A request id is a UUID, as in the header x-request-id of the answer.") from None


def check_networks(values: Sequence[str]) -> list[str]:
    """Addresses and networks, in CIDR notation. IPv4-mapped IPv6 becomes IPv4, as for the addresses of callers."""
    if len(values) > MAX_ADDRESSES:
        raise invalid("allowed_ips", f"allowed_ips may have at most {MAX_ADDRESSES} entries.")
    try:
        return [str(_network(value.strip())) for value in values]
    except ValueError as exc:
        raise invalid("allowed_ips", f"allowed_ips must be addresses or networks, e.g. 10.0.0.0/8: {exc}.") from None


def check_ip(field: str, value: str) -> IPv4Address | IPv6Address:
    """One address, as the gateway sees a caller's."""
    try:
        network = _network(value.strip())
    except ValueError:
        network = None
    if network is None or network.num_addresses != 1:
        raise invalid(field, f"{field} must be an IP address, e.g. 10.0.0.7.")
    return network.network_address


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text)
    if isinstance(network, IPv4Network):
        return network
    if network.network_address.scope_id is not None:
        raise ValueError(f"{text!r} names an interface of one machine")
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return IPv4Network((int(mapped), network.prefixlen - MAPPED_BITS))
