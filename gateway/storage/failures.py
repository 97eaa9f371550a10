"""What asyncpg raises when Postgres cannot answer, as distinct from mistakes of the program."""

import errno
from typing import Final

import asyncpg

from gateway.tls import cure_refused_client, cure_tls

# InternalClientError is among them: a server that crashes says so to idle connections, and asyncpg calls it a mistake
# of its own if one is used before it closes.
# Whatever keeps a statement from being carried out: for work in the background, that is tried again later anyway.
POSTGRES_FAILED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# An address where nothing answers, a wrong password, a server that starts or stops, one that is a replica now or full.
UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    # Too many connections, no memory, no room on the disk.
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# The connection ended; another one may be fine, if Postgres is there.
BROKEN = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def was_refused(error: BaseException) -> bool:
    """Whether Postgres itself said no, so that the transaction was not carried out. It may have been where
    the connection breaks at its end."""
    is_no = isinstance(error, asyncpg.InsufficientResourcesError | asyncpg.ReadOnlySQLTransactionError)
    return is_no or (isinstance(error, asyncpg.PostgresError) and not isinstance(error, UNAVAILABLE))


# How the names of the settings about its certificates begin.
SETTINGS: Final = "LITEMAAS_DATABASE"
# What the machine has no more of, or does not allow: no server's fault.
OF_THIS_MACHINE: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EADDRINUSE)
)


def is_of_this_machine(error: BaseException) -> bool:
    """Whether an OSError is of a file, a disk or a port here, and not of a connection."""
    return isinstance(error, OSError) and (error.filename is not None or error.errno in OF_THIS_MACHINE)


def cause_of(error: BaseException) -> str:
    """For logs: some errors, as a timeout, have no text."""
    return str(error) or type(error).__name__


def _wants_certificate(error: BaseException) -> bool:
    """Postgres asks for one after the handshake, by a rule of pg_hba.conf."""
    return isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and "client certificate" in str(error)


def cure(error: BaseException) -> str:
    """What an operator does about it."""
    if _wants_certificate(error):
        return cure_refused_client(SETTINGS)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return "correct the user and password in LITEMAAS_DATABASE_URL"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "create the database, or correct its name in LITEMAAS_DATABASE_URL"
    if (of_tls := cure_tls(error, SETTINGS)) is not None:
        return of_tls
    return "start Postgres, or correct LITEMAAS_DATABASE_URL; it is tried again until it answers"


def explain(error: BaseException) -> str | None:
    """A message for people if Postgres is away or not ready; None: the error is something else."""
    if isinstance(error, asyncpg.UndefinedTableError):
        return "The database has no tables yet: run 'litemaas migrate' first."
    if _wants_certificate(error):
        return f"Postgres refused: {error}: {cure_refused_client(SETTINGS)}."
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
        return f"Postgres refused: {error}."
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, UNAVAILABLE):
        return None
    if isinstance(error, UNAVAILABLE) and not is_of_this_machine(error):
        of_tls = cure_tls(error, SETTINGS)
        todo = f": {of_tls}" if of_tls else ""
        return f"Postgres does not answer at LITEMAAS_DATABASE_URL ({cause_of(error)}){todo}."
    return None
