"""Keys of providers, kept sealed for LiteLLM. Nobody reads one back but `open_provider_keys`, at LiteLLM's start.

No route sends a key anywhere, and nothing that is stored here says where one is sent: the name only tells which
variable of LiteLLM's environment will hold it, always behind PREFIX, so that no other variable can be set by it. Which
address gets the key is LiteLLM's own configuration, which nobody changes by a request.
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
# Four characters of it are shown.
LEAST_VALUE: Final = 16
MAX_VALUE: Final = 8000
AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class PutProviderKey:
    """What a put came to."""

    row: ProviderKey
    is_new: bool


def variable_of(name: str) -> str:
    """The variable of LiteLLM's environment that holds it."""
    return PREFIX + name


async def put_provider_key(
    pool: "Pool", actor: Actor, keys: SecretKeys, name: str, *, provider: str, value: str, as_of: str | None = None
) -> PutProviderKey:
    """A new key, or another value for the one of that name; LiteLLM has it from its next start on. The same again
    changes nothing. Raises GatewayError `validation_failed`, or `precondition_failed` if it is not as of `as_of`."""
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
    """By id; never the keys."""
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
    """LiteLLM goes on with what it has until its next start. Raises GatewayError `not_found` or
    `precondition_failed`."""
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
    """Variable -> key, of all there are; who opened which is in the audit log. Raises EncryptionError if one cannot be
    decrypted: a LiteLLM that lacks a key would fail later, and say less."""
    require_admin(actor)
    opened: dict[str, str] = {}
    after = 0
    async with pool.acquire() as connection, connection.transaction():
        while found := await rows.list_provider_keys(connection, after_id=after, limit=AT_ONCE):
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
        raise invalid("name", "A name has 1 to 63 capital letters, digits and _, a letter first, as OPENAI.")
    return name


def _check_value(value: str) -> None:
    """What fits into an environment variable and a header, and is no mistake of the clipboard."""
    if value.startswith("os.environ/"):
        raise invalid("value", "This is what LiteLLM's configuration says; the value is the provider's key itself.")
    if not LEAST_VALUE <= len(value) <= MAX_VALUE:
        raise invalid("value", f"A key has {LEAST_VALUE} to {MAX_VALUE} characters; the last four are shown in lists.")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise invalid("value", "A key is one line of printable ASCII characters, without blanks around it.")


def _holds(row: ProviderKey, keys: SecretKeys, value: str) -> bool:
    """Whether it is the same value already. One that does not open any more may be replaced."""
    try:
        return keys.decrypt(row.encrypted, purpose=PURPOSE, row=row.name) == value.encode()
    except EncryptionError:
        return False


def _audit_fields(row: ProviderKey | None) -> dict[str, object] | None:
    return None if row is None else {"provider": row.provider, "last_four": row.last_four}


def _is_missing(name: str) -> GatewayError:
    return GatewayError("not_found", f"There is no provider key '{name}'.")
