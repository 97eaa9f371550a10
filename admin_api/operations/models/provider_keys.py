"""API keys of providers, stored encrypted for LiteLLM. Only `open_provider_keys` decrypts them, when LiteLLM starts.

No route returns or sends a key. Its name determines the variable in LiteLLM's environment, always with PREFIX, so that
no other variable can be set. LiteLLM's own configuration, which no request changes, decides which address gets the key.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import check_text, invalid
from admin_api.storage import provider_keys as rows
from admin_api.storage.provider_keys import ProviderKey
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

PURPOSE: Final = "provider key"
PREFIX: Final = "PROVIDER_KEY_"
NAME: Final = "^[A-Z][A-Z0-9_]{0,62}$"
MAX_PROVIDER: Final = 100
# Four characters of the key are shown, so short ones are not accepted.
MIN_VALUE: Final = 16
MAX_VALUE: Final = 8000
BATCH_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class PutProviderKey:
    """The result of `put_provider_key`."""

    row: ProviderKey
    is_new: bool


def variable_of(name: str) -> str:
    """The environment variable of LiteLLM for this key."""
    return PREFIX + name


async def put_provider_key(
    pool: "Pool", actor: Actor, keys: SecretKeys, name: str, *, provider: str, value: str, as_of: str | None = None
) -> PutProviderKey:
    """Creates or replaces the key of this name; LiteLLM uses it from its next start on. An unchanged value writes
    nothing. Raises GatewayError `validation_failed`, or `precondition_failed` if `as_of` does not match."""
    require_admin(actor)
    name, provider = check_name(name), check_text("provider", provider, least=1, maximum=MAX_PROVIDER)
    _check_value(value)
    async with pool.acquire() as connection, connection.transaction():
        await rows.lock_provider_keys(connection)
        old = await rows.find_provider_key(connection, name)
        check_version(version_of(old) if old else None, as_of)
        if old is not None and old.provider == provider and _holds(old, keys, value):
            return PutProviderKey(old, is_new=False)
        encrypted = keys.encrypt(value.encode(), purpose=PURPOSE, row=name)
        new = await rows.upsert_provider_key(
            connection, name=name, provider=provider, encrypted=encrypted, last_four=value[-4:], by=actor.name
        )
        await note(
            connection, actor, "provider_key.put", "provider_key", name, old=_audit_fields(old), new=_audit_fields(new)
        )
    return PutProviderKey(new, is_new=old is None)


async def list_provider_keys(
    pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[ProviderKey]:
    """By id, without the keys themselves."""
    require_reader(actor)
    check_limit(limit)
    after = parse_id_cursor(cursor)
    async with pool.acquire() as connection:
        found = await rows.list_provider_keys(connection, after_id=after, limit=limit + 1)
    return page(found, limit, lambda row: row.id)


async def find_provider_key(pool: "Pool", actor: Actor, name: str) -> ProviderKey:
    """Raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        row = await rows.find_provider_key(connection, check_name(name))
    if row is None:
        raise _is_missing(name)
    return row


async def delete_provider_key(pool: "Pool", actor: Actor, name: str, *, as_of: str | None = None) -> None:
    """LiteLLM uses the key until its next start. Raises GatewayError `not_found` or `precondition_failed`."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        await rows.lock_provider_keys(connection)
        old = await rows.find_provider_key(connection, check_name(name))
        if old is None:
            raise _is_missing(name)
        check_version(version_of(old), as_of)
        await rows.delete_provider_key(connection, name)
        await note(connection, actor, "provider_key.delete", "provider_key", name, old=_audit_fields(old))


async def open_provider_keys(pool: "Pool", actor: Actor, keys: SecretKeys) -> dict[str, str]:
    """All keys, decrypted, by variable, with an audit row. Raises EncryptionError if one cannot be decrypted: without
    it LiteLLM would fail later, with a less clear message."""
    require_admin(actor)
    opened: dict[str, str] = {}
    after = 0
    async with pool.acquire() as connection, connection.transaction():
        while found := await rows.list_provider_keys(connection, after_id=after, limit=BATCH_SIZE):
            for row in found:
                opened[variable_of(row.name)] = keys.decrypt(row.encrypted, purpose=PURPOSE, row=row.name).decode()
            after = found[-1].id
        if opened:
            names = [variable.removeprefix(PREFIX) for variable in opened]
            await note(connection, actor, "provider_keys.open", "provider_keys", "all", new={"names": names})
    return opened


def check_name(name: str) -> str:
    """Raises GatewayError `validation_failed`."""
    if not re.fullmatch(NAME, name):
        raise invalid(
            "name", "A name must have 1 to 63 capital letters, digits and _ and begin with a letter, e.g. OPENAI."
        )
    return name


def _check_value(value: str) -> None:
    """Checks that the key fits into an environment variable and a header, and is not a copy and paste mistake."""
    if value.startswith("os.environ/"):
        raise invalid(
            "value", "This is a reference for LiteLLM's configuration. The value must be the provider's key itself."
        )
    if not MIN_VALUE <= len(value) <= MAX_VALUE:
        raise invalid(
            "value", f"A key must have {MIN_VALUE} to {MAX_VALUE} characters. The last four are shown in lists."
        )
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise invalid("value", "A key must be one line of printable ASCII characters without surrounding spaces.")


def _holds(row: ProviderKey, keys: SecretKeys, value: str) -> bool:
    """Whether the row already has this value. False if it cannot be decrypted, so that it can be replaced."""
    try:
        return keys.decrypt(row.encrypted, purpose=PURPOSE, row=row.name) == value.encode()
    except EncryptionError:
        return False


def _audit_fields(row: ProviderKey | None) -> dict[str, object] | None:
    return None if row is None else {"provider": row.provider, "last_four": row.last_four}


def _is_missing(name: str) -> GatewayError:
    return GatewayError("not_found", f"There is no provider key '{name}'.")
