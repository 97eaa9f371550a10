"""Postgres: connections and roles, rights, migrations, and what its rows need of the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zoneinfo import available_timezones

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.doctor.clocks import Clock, compare, now_s
from admin_api.operations.doctor.findings import Findings, NotChecked
from admin_api.operations.doctor.names import some
from admin_api.operations.models import provider_keys as provider_key_operations
from admin_api.operations.notifications import channels
from admin_api.storage import doctor, provider_keys, webhooks
from admin_api.storage.migrate import migrations_folder, read_migrations
from gateway.storage.failures import POSTGRES_FAILED, explain
from gateway.storage.postgres import connect
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gateway.domain.keys import Peppers
    from gateway.storage.postgres import Connection

OLDEST_VERSION: Final = 15
MIN_DIFFERENT_BYTES: Final = 8
MAX_SECRETS: Final = 1000
MAX_FAULTS: Final = 5
REACH: Final = (
    "Look whether Postgres runs, whether the address, user and password of {setting} are right, and whether a network "
    "policy or firewall lets this machine through."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The addresses of the app's role and, if it is set, of the owner."""

    app_url: "SecretStr"
    owner_url: "SecretStr | None" = None
    tls: TlsFiles = NO_FILES

    @asynccontextmanager
    async def connected(self) -> "AsyncIterator[Connection]":
        """As the app's role. Raises what asyncpg does."""
        connection = await connect(self.app_url.get_secret_value(), tls=self.tls, name="litemaas-doctor")
        try:
            yield connection
        finally:
            connection.terminate()

    def as_owner(self) -> "Database | None":
        """The same with the owner's address in place of the app's."""
        return None if self.owner_url is None else Database(app_url=self.owner_url, tls=self.tls)


async def check_connection(found: Findings, database: Database) -> None:
    """Postgres answers, is no replica and not too old, and its clock is right."""
    try:
        async with database.connected() as connection:
            # The first statement of a connection is planned and is slow.
            await doctor.read_server(connection)
            before_s = now_s()
            server = await doctor.read_server(connection)
            after_s = now_s()
    except POSTGRES_FAILED as exc:
        found.problem(explain(exc) or str(exc), REACH.format(setting="LITEMAAS_DATABASE_URL"))
        return
    compare(found, "Postgres", Clock(before_s, server.time.timestamp(), after_s))
    version = server.version // 10_000
    if version < OLDEST_VERSION:
        found.problem(f"Postgres {version} is too old.", f"Upgrade it to {OLDEST_VERSION} or later.")
    if server.is_replica:
        found.problem(
            "LITEMAAS_DATABASE_URL leads to a replica, which takes no writes.",
            "Set it to the primary; with several hosts add target_session_attrs=primary.",
        )
    found.ok(f"Postgres {version} answers, with {server.max_connections} connections at most.")


async def check_roles(found: Findings, database: Database) -> None:
    """The app's role can do what it must and no more; the owner is no superuser."""
    async with connected(database) as connection:
        app = await doctor.read_role(connection)
        rights = await doctor.read_rights(connection)
    if app.powers:
        found.problem(
            f"The app's role {app.name} has {', '.join(app.powers)}: no right on a table keeps it from changing the "
            "ledger or the audit log.",
            f"As a superuser: ALTER ROLE {app.name} {' '.join(f'NO{power}' for power in app.powers)};",
        )
    elif app.owns or app.may_create:
        owns = f"owns {app.owns} tables" if app.owns else "may create tables in the schema"
        found.problem(
            f"The app's role {app.name} {owns}: it could give itself any right on them.",
            "Use two roles: LITEMAAS_OWNER_DATABASE_URL for migrations, and LITEMAAS_DATABASE_URL without CREATE on "
            "the schema and without membership in the owner.",
        )
    else:
        _report_rights(found, app, rights)
    owner = database.as_owner()
    if owner is None:
        found.ok(f"The app's role {app.name} was checked; LITEMAAS_OWNER_DATABASE_URL is not set here.")
        return
    try:
        async with owner.connected() as connection:
            role = await doctor.read_role(connection)
    except POSTGRES_FAILED as exc:
        said = (explain(exc) or str(exc)).replace("LITEMAAS_DATABASE_URL", "LITEMAAS_OWNER_DATABASE_URL")
        found.problem(f"As the owner: {said}", REACH.format(setting="LITEMAAS_OWNER_DATABASE_URL"))
        return
    _report_owner(found, app.name, role)


def _report_rights(found: Findings, app: doctor.Role, rights: doctor.Rights) -> None:
    role = app.name
    if not app.may_make_temporary:
        found.problem(
            f"The app's role {role} may make no temporary tables, which `litemaas ledger reconcile` needs.",
            f"As the owner of the database: GRANT TEMPORARY ON DATABASE … TO {role};",
        )
    if rights.missing:
        found.problem(
            f"The app's role {role} lacks rights on {len(rights.missing)} tables ({some(rights.missing)}).",
            "Migrations grant rights to the user that LITEMAAS_DATABASE_URL names when they run. If it was changed "
            "since, use the first one again, or grant the new one membership in it (GRANT old TO new).",
        )
    if rights.forbidden:
        found.problem(
            f"The app's role {role} may change what is only added to ({some(rights.forbidden)}).",
            "Revoke these rights as the owner (REVOKE … ON … FROM …); nobody needs them.",
        )


def _report_owner(found: Findings, app: str, owner: doctor.Role) -> None:
    if owner.name == app:
        found.problem(
            "LITEMAAS_DATABASE_URL and LITEMAAS_OWNER_DATABASE_URL name the same role.",
            "Use two roles, so that the programs cannot change the ledger and the audit log.",
        )
    elif "SUPERUSER" in owner.powers:
        found.warn(
            f"The owner's role {owner.name} is a superuser, which migrations do not need.",
            f"As a superuser: ALTER ROLE {owner.name} NOSUPERUSER; it must own the schema's tables.",
        )
    else:
        found.ok(f"The roles {app} and {owner.name} have the rights they need, and no more.")


async def check_migrations(found: Findings, database: Database) -> None:
    """All are applied, as they are in this version."""
    async with connected(database) as connection:
        state = await doctor.read_migration_state(connection, read_migrations(migrations_folder()))
    if state.changed:
        found.problem(
            f"Migrations are not as they were when they were applied: {some(state.changed)}.",
            "Install the version of LiteMaaS that is meant here, unchanged: applied migrations are never edited.",
        )
    for phase, missing in state.missing.items():
        if missing and phase == "pre":
            found.problem(
                f"{len(missing)} migrations are missing ({some(missing)}).",
                "Run 'litemaas migrate' with LITEMAAS_OWNER_DATABASE_URL.",
            )
        elif missing:
            found.warn(
                f"{len(missing)} migrations for after an upgrade are missing ({some(missing)}).",
                "Run 'litemaas migrate' when no program of the version before runs any more.",
            )
    if state.unknown:
        found.warn(
            f"The database has migrations of a later version ({some(state.unknown)}).",
            "Run doctor of that version; programs of this one should end soon.",
        )
    if not (state.changed or state.unknown or any(state.missing.values())):
        found.ok("All migrations are applied.")


async def check_peppers(found: Findings, database: Database, peppers: "Peppers") -> None:
    """Random, and each that a key needs is there."""
    for version, secret in peppers.secrets.items():
        if len(set(secret)) < MIN_DIFFERENT_BYTES:
            found.problem(
                f"Version {version} of LITEMAAS_KEY_PEPPERS is not random.",
                "Add a new version made by: openssl rand -hex 32. Rotate the keys of the old one, then remove it.",
            )
    async with connected(database) as connection:
        used = await doctor.count_peppers(connection)
    for version, number in used.items():
        if version not in peppers.secrets:
            found.problem(
                f"{number} keys or tokens cannot be used: they were made with version {version} of the peppers, which "
                "LITEMAAS_KEY_PEPPERS does not have.",
                f"Add version {version} again, or let their owners rotate them.",
            )
    for version in sorted(set(peppers.secrets) - set(used) - {peppers.newest}):
        found.warn(
            f"No key needs version {version} of LITEMAAS_KEY_PEPPERS any more.",
            "Remove it: a secret that nobody needs can only leak.",
        )
    found.ok(f"New keys use version {peppers.newest} of the peppers.")


async def check_secret_keys(found: Findings, database: Database, keys: SecretKeys) -> None:
    """Everything stored encrypted can be decrypted, and older keys are needed."""
    older: set[int] = set()
    faults: list[str] = []
    async with connected(database) as connection:
        hooks = await webhooks.list_webhooks(connection, after_id=0, limit=MAX_SECRETS)
        provided = await provider_keys.list_provider_keys(connection, after_id=0, limit=MAX_SECRETS)
    stored: list[tuple[bytes, str, object]] = [(one.secret, channels.PURPOSE, one.id) for one in hooks]
    stored += [(one.encrypted, provider_key_operations.PURPOSE, one.name) for one in provided]
    for encrypted, purpose, row in stored:
        if not keys.is_newest(encrypted):
            older.add(keys.version_of(encrypted))
        try:
            keys.decrypt(encrypted, purpose=purpose, row=row)
        except EncryptionError as exc:
            faults.append(str(exc))
    for fault in faults[:MAX_FAULTS]:
        found.problem(fault, "Set LITEMAAS_SECRET_KEYS with the key that encrypted it, or store the secret again.")
    if older - {keys.newest}:
        found.warn(
            "Some secrets are encrypted with an older version of LITEMAAS_SECRET_KEYS.",
            "Run 'litemaas secrets rotate'; then the older version can be removed.",
        )
    elif len(keys.keys) > 1:
        found.warn(
            f"No stored secret needs another version of LITEMAAS_SECRET_KEYS than {keys.newest}.",
            "Remove the others a day after the last change, when nobody is logged in by them.",
        )
    found.ok(f"{len(stored)} stored secrets were read; new ones use version {keys.newest}.")


async def check_time_zones(found: Findings, database: Database) -> None:
    """This machine and Postgres know the zones of all accounts."""
    known = available_timezones()
    if not known:
        found.problem("This machine has no time zone data.", "Install the package tzdata of the system, or of Python.")
    async with connected(database) as connection:
        unknown_there = await doctor.unknown_zones(connection)
        unknown_here = sorted(set(await doctor.list_zones(connection)) - known)
    if unknown_there:
        found.problem(
            f"Postgres does not know the time zones of some accounts ({some(unknown_there)}).",
            "Install the package tzdata where Postgres runs, and restart it.",
        )
    if known and unknown_here:
        found.problem(
            f"This machine does not know the time zones of some accounts ({some(unknown_here)}).",
            "Upgrade the package tzdata.",
        )
    found.ok(f"{len(known)} time zones are known.")


@asynccontextmanager
async def connected(database: Database) -> "AsyncIterator[Connection]":
    """For all checks but that of the connection, which says why there is none. Raises NotChecked."""
    try:
        async with database.connected() as connection:
            yield connection
    except POSTGRES_FAILED as exc:
        raise NotChecked(explain(exc) or f"{exc}.") from exc
