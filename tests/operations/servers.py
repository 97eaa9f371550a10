"""A Postgres that archives its log, and what restores it."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from deploy.embedded.postgres import APP, DATABASE, OWNER, SUPERUSER, Postgres
from deploy.embedded.postgres_binaries import find_programs, reachable_programs
from deploy.embedded.processes import bare_environment

RECOVERY_S: Final = 60.0


class ArchivingPostgres(Postgres):
    """One whose log goes to the folder `archive` as it is written, and from which a base backup can be taken."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, durable=True)
        self.transcript: list[str] = []

    @property
    def archive(self) -> Path:
        return self._data.parent / "archive"

    @property
    def base(self) -> Path:
        return self._data.parent / "base"

    def _make_cluster(self, programs: Path) -> None:
        super()._make_cluster(programs)
        for folder in (self.archive, self.base):
            folder.mkdir()
            self.give_away(folder)
        self._settings = {
            "archive_mode": "on",
            "archive_command": f"test ! -f {self.archive}/%f && cp %p {self.archive}/%f",
            "wal_level": "replica",
            "max_wal_senders": "4",
        }

    def give_away(self, folder: Path) -> None:
        """To the account that Postgres runs as."""
        if self._account is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._account.uid, self._account.gid)

    def run(self, program: str, *arguments: str, user: str = SUPERUSER) -> str:
        """A program of Postgres, against this server; what it printed."""
        programs = reachable_programs(find_programs(), self._account)
        env = bare_environment(self._data) | {"PGPASSWORD": self._passwords[user], "PGUSER": user}
        env |= {"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}
        done = subprocess.run(
            [str(programs / program), *arguments],
            env=env,
            text=True,
            capture_output=True,
            cwd="/",
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr[-500:]}")
        if program != "psql":
            self.transcript.append(f"$ {program} {' '.join(arguments)}\n{(done.stdout + done.stderr).strip()}")
        return done.stdout + done.stderr

    def change_password(self, user: str, password: str) -> None:
        self.run("psql", "-d", "postgres", "-qc", f"ALTER ROLE {user} PASSWORD '{password}'")
        self._passwords[user] = password

    def back_up(self) -> str:
        """A base backup."""
        return self.run("pg_basebackup", "-D", str(self.base), "--checkpoint=fast", "--wal-method=stream", "-v")

    def restore_to(self, moment: str) -> None:
        """The base backup, and the archived log until then. The server is stopped, and runs when this returns."""
        self.stop()
        self._data.rename(self._data.with_name("lost"))
        shutil.copytree(self.base, self._data)
        self._data.chmod(0o700)
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.write(
                f"restore_command = 'cp {self.archive}/%f %p'\n"
                f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n"
            )
        (self._data / "recovery.signal").touch()
        self.give_away(self._data)
        self.start()
        deadline = time.monotonic() + RECOVERY_S
        while self.ask("SELECT pg_is_in_recovery()") != "f":
            if time.monotonic() > deadline:
                raise TimeoutError("Postgres is still in recovery")
            time.sleep(0.1)

    def ask(self, query: str, database: str = DATABASE) -> str:
        """One value."""
        return self.run("psql", "-d", database, "-Atqc", query).strip()

    def discard(self) -> None:
        super().discard()
        for folder in (self.archive, self.base, self._data.with_name("lost")):
            shutil.rmtree(folder, ignore_errors=True)


def dump(server: ArchivingPostgres, file: Path) -> None:
    """The database as one file."""
    server.run("pg_dump", "-Fc", "-d", DATABASE, "-f", str(file), user=OWNER)


def restore_dump(server: ArchivingPostgres, file: Path) -> None:
    """Into a new database, which then takes the place of the old one."""
    new, old = f"{DATABASE}_new", f"{DATABASE}_old"
    server.run("psql", "-d", "postgres", "-qc", f"CREATE DATABASE {new} OWNER {OWNER}")
    for statement in (
        f"REVOKE ALL ON DATABASE {new} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {new} TO {APP}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"ALTER SCHEMA public OWNER TO {OWNER}",
    ):
        server.run("psql", "-d", new, "-qc", statement)
    server.run("pg_restore", "--exit-on-error", "-d", new, str(file), user=OWNER)
    of_database = f"FROM pg_stat_activity WHERE datname = '{DATABASE}'"
    for statement in (
        f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid, 5000) {of_database}",
        f"ALTER DATABASE {DATABASE} RENAME TO {old}",
        f"ALTER DATABASE {new} RENAME TO {DATABASE}",
    ):
        server.run("psql", "-d", "postgres", "-Atqc", statement)
