"""A Postgres cluster on loopback, even when run by root."""

import base64
import hashlib
import hmac
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deploy.embedded.component import Component
from deploy.embedded.postgres_binaries import (
    can_reach,
    find_programs,
    reachable_programs,
    unprivileged_account,
)
from deploy.embedded.processes import Child, NotStarted, bare_environment, free_port

SUPERUSER = "postgres"
OWNER = "litemaas_owner"
APP = "litemaas_app"
DATABASE = "litemaas"

# For tests: no durability, nothing waits for the disk.
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Component):
    """A new cluster in `folder`, with the roles owner and app and an empty database.

    `stop()` and `start()` keep its data, `discard()` does not. `keep`: an existing cluster is used, with new
    passwords; its account must be able to enter the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        keep: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._settings = ({} if durable else UNSAFE_BUT_FAST) | dict(settings or {})
        self._passwords = {role: secrets.token_hex(16) for role in (SUPERUSER, OWNER, APP)}
        self._account = unprivileged_account()
        self._data = self.folder / "data"
        self._borrowed: Path | None = None
        self._is_made = False
        self._keep = keep

    def url(self, user: str = APP, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        """Create the cluster at the first start, and run its server."""
        programs = reachable_programs(find_programs(), self._account)
        if not self._is_made:
            if self._keep and (self._data / "PG_VERSION").exists():
                hashed = {role: hashed_once(password) for role, password in self._passwords.items()}
                self._type(programs, "".join(f"ALTER ROLE {role} PASSWORD '{kept}'\n" for role, kept in hashed.items()))
            else:
                self._make_folder()
                self._make_cluster(programs)
            self._is_made = True
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            # Sockets live in a folder, whose path has a length limit; TCP is enough.
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
        } | self._settings
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.child = Child(
            "Postgres",
            [str(programs / "postgres"), "-D", str(self._data), *arguments],
            log=self.folder / "postgres.log",
            env=bare_environment(self._data),
            cwd=Path("/"),  # its account may not have access to our working directory
            account=self._account,
            # Its "fast" shutdown. SIGTERM would wait until the last client leaves.
            stop_signal=signal.SIGINT,
        )

    def discard(self) -> None:
        self.stop()
        shutil.rmtree(self._borrowed or self._data, ignore_errors=True)

    def is_ready(self) -> bool:
        # The postmaster writes its state on the eighth line. Unlike a connection, it proves that
        # the server on the port is ours.
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(self.pid)

    def _make_folder(self) -> None:
        """An empty data folder that the account can reach and owns; no other mode is changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._data, ignore_errors=True)
        account = self._account
        if account is None:
            self._data.mkdir(mode=0o700)
            return
        if not can_reach(self.folder, account):
            if self._keep:
                raise NotStarted(f"{account.name} cannot reach {self.folder}: keep Postgres's data in another folder.")
            self._borrowed = Path(tempfile.mkdtemp(prefix="litemaas-postgres-data-"))
            os.chown(self._borrowed, account.uid, account.gid)
            self._data = self._borrowed / "data"
        self._data.mkdir(mode=0o700)
        os.chown(self._data, account.uid, account.gid)

    def _make_cluster(self, programs: Path) -> None:
        initdb = [str(programs / "initdb"), "-D", str(self._data), "-U", SUPERUSER, "-E", "UTF8"]
        self._run([*initdb, "--no-locale", "--auth=trust", "--no-sync", "--no-instructions"])
        (self._data / "pg_hba.conf").write_text("host all,replication all 127.0.0.1/32 scram-sha-256\n")
        hashed = {role: hashed_once(password) for role, password in self._passwords.items()}
        self._type(
            programs,
            f"ALTER ROLE {SUPERUSER} PASSWORD '{hashed[SUPERUSER]}'\n"
            f"CREATE ROLE {OWNER} LOGIN PASSWORD '{hashed[OWNER]}'\n"
            f"CREATE ROLE {APP} LOGIN PASSWORD '{hashed[APP]}'\n"
            f"CREATE DATABASE {DATABASE} OWNER {OWNER}\n"
            # PUBLIC has no rights, as in deploy/postgres/create_roles.sh: what the app may do, migrations grant.
            f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC\n"
            f"GRANT CONNECT ON DATABASE {DATABASE} TO {APP}\n",
        )

    def _type(self, programs: Path, typed: str) -> None:
        """Run statements in single-user mode: the roles exist before the server accepts connections."""
        single = [str(programs / "postgres"), "--single", "-D", str(self._data)]
        self._run([*single, "-c", "fsync=off", "-c", "exit_on_error=on", "postgres"], typed)

    def _run(self, argv: list[str], typed: str = "") -> None:
        account = self._account
        done = subprocess.run(
            argv,
            input=typed,
            text=True,
            capture_output=True,
            cwd="/" if account else None,
            env=bare_environment(self._data),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            log = self.folder / "postgres-initdb.log"
            log.write_text(done.stdout + done.stderr)
            raise NotStarted(f"Postgres could not make its data folder; see {log}.")


def hashed_once(password: str) -> str:
    """What Postgres keeps of it (RFC 5803), which its clients compute too, for each connection. 4,096 hashes, as it
    would take, slow down who guesses words, and no one who guesses 128 random bits."""
    salt, times = secrets.token_bytes(16), 1
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, times)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    kept = (base64.b64encode(one).decode() for one in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(times, *kept)
