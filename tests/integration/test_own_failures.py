"""A fault of this machine is not said to be one of Postgres."""

import errno
import ssl
from pathlib import Path

import asyncpg
import pytest
from command_line import CommandLine

from admin_api.cli.failures import explain as explain_command
from gateway.storage.failures import explain

OF_HERE = [
    PermissionError(errno.EACCES, "Permission denied", "/var/lib/litemaas/journal"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/litemaas/ca/ca.crt"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EMFILE, "Too many open files"),
]
OF_POSTGRES = [
    ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"),
    # Of a socket of its own, which has no name in the error.
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    OSError("Multiple exceptions: Connect call failed"),
    TimeoutError(),
    ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
]


@pytest.mark.parametrize("error", OF_HERE, ids=repr)
def test_what_is_of_this_machine_names_its_file_and_not_postgres(error: OSError) -> None:
    said = explain_command(error)

    assert explain(error) is None
    assert "Postgres" not in said
    assert said == f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."


@pytest.mark.parametrize("error", OF_POSTGRES, ids=repr)
def test_what_is_of_a_connection_is_of_postgres(error: Exception) -> None:
    assert explain_command(error).startswith("Postgres does not answer at LITEMAAS_DATABASE_URL")


async def test_a_folder_of_the_gateway_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "metrics"

    done = await CommandLine({"PROMETHEUS_MULTIPROC_DIR": str(folder)}).run("gateway")

    assert (done.code, done.err) == (1, f"litemaas: {folder}: Not a directory.\n")
