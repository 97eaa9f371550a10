"""Lookups: users by id or e-mail address, teams by id or name, models by name, keys by id."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from admin_api.operations.pagination import MAX_ID
from admin_api.operations.validation import invalid
from admin_api.storage import accounts, api_keys, models
from admin_api.storage import users as user_rows
from gateway.domain.email_addresses import normalize_address
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# The last characters of a key, which lists show.
ENDING: Final = 4


async def get_user(executor: "Executor", reference: str) -> user_rows.User:
    """By id or e-mail address; raises GatewayError `not_found`."""
    number = _as_id(reference)
    user = None
    if number is not None:
        user = await user_rows.find_user(executor, user_id=number)
    elif _is_storable(reference):
        user = await find_by_address(executor, reference)
    if user is None:
        raise GatewayError("not_found", f"There is no user '{reference}'.", param="user")
    return user


async def find_by_address(executor: "Executor", address: str) -> user_rows.User | None:
    """By an e-mail address in any of its spellings. The spelling itself comes first: before version 0.2.0 addresses
    were stored as they were written, in lower case."""
    user = await user_rows.find_user(executor, email=address.strip().lower())
    if user is None and not address.isascii():
        with suppress(ValueError):
            user = await user_rows.find_user(executor, email=normalize_address(address))
    return user


async def get_team(executor: "Executor", reference: str) -> accounts.Account:
    """By id or name; raises GatewayError `not_found`, or `conflict` if the number is one team's id and another's
    name."""
    number = _as_id(reference)
    named = await accounts.find_team(executor, name=reference.strip()) if _is_storable(reference) else None
    team = named if number is None else await accounts.find_team(executor, team_id=number)
    if team is not None and named is not None and team.id != named.id:
        message = (
            f"'{reference}' is the id of one team and the name of another. Use the first's name or the second's id."
        )
        raise GatewayError("conflict", message, param="team")
    team = team or named
    if team is None:
        raise GatewayError("not_found", f"There is no team '{reference}'.", param="team")
    return team


async def get_model(executor: "Executor", name: str) -> models.Model:
    """By its exact name, or by its id if no model has such a name; raises GatewayError `not_found`."""
    model = await models.find_model(executor, name=name) if _is_storable(name) else None
    if model is None and _as_id(name) is not None:
        model = await models.find_model(executor, model_id=_as_id(name))
    if model is None:
        raise GatewayError("not_found", f"There is no model '{name}'.", param="model")
    return model


async def get_key(executor: "Executor", key_id: int) -> api_keys.APIKey:
    """By id; raises GatewayError `not_found`."""
    key = await api_keys.find_key(executor, key_id) if 0 < key_id <= MAX_ID else None
    if key is None:
        raise GatewayError("not_found", f"There is no key {key_id}.")
    return key


async def find_key_id(executor: "Executor", reference: str) -> int:
    """A key by its id, or by its last four characters, also as `…abcd`. A number is an id. Raises GatewayError
    `not_found`, or `conflict` with the choices if several keys end so. For admins only: it tells which keys exist."""
    text = reference.strip()
    number = _as_id(text)
    if number is not None and await api_keys.find_key(executor, number) is not None:
        return number
    ending = text.removeprefix("…").removeprefix("...")
    found = await api_keys.find_by_ending(executor, ending) if len(ending) == ENDING and _is_storable(ending) else []
    if not found:
        raise GatewayError("not_found", f"There is no key '{reference}': give an id, or the last four characters.")
    if len(found) > 1:
        choices = "; ".join(f"{key.id} of {key.account_name}{f' ({key.name})' if key.name else ''}" for key in found)
        raise GatewayError("conflict", f"Several keys end with '{ending}'. Give the id: {choices}.")
    return found[0].id


async def get_account(executor: "Executor", *, user: str | None, team: str | None) -> accounts.Account:
    """The team's account, or else the user's personal one. Both may be given for a member of a team. Raises
    GatewayError `not_found`, or `validation_failed` if neither is given."""
    if team is not None:
        return await get_team(executor, team)
    if user is None:
        raise invalid("user", "Name a user or a team.")
    person = await get_user(executor, user)
    account = await accounts.find_account(executor, person.account_id)
    if account is None:
        raise GatewayError("not_found", f"User '{user}' has no account.")
    return account


def parse_id(field: str, value: str) -> int:
    """A positive id. Raises GatewayError `validation_failed`."""
    number = _as_id(value)
    if number is None:
        raise invalid(field, f"{field} must be a number here.")
    return number


def _as_id(reference: str) -> int | None:
    text = reference.strip()
    if text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= MAX_ID:
        return int(text)
    return None


def _is_storable(text: str) -> bool:
    # Postgres accepts neither NUL nor lone surrogates, so no row has such a name.
    return text.isprintable()
