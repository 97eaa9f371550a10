"""A streaming replica of a Postgres on loopback, which can take its place."""

from pathlib import Path

from deploy.embedded.postgres import SUPERUSER, Postgres
from deploy.embedded.postgres_binaries import find_programs, reachable_programs


class Standby(Postgres):
    """Starts with a copy of `primary`, which must run, and follows it under the name `name`. Roles and passwords are
    the primary's. `host` is where it reaches the primary's port."""

    def __init__(
        self,
        folder: Path,
        primary: Postgres,
        *,
        port: int | None = None,
        name: str = "standby",
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(folder, port=port)
        self._passwords = primary._passwords
        url = primary.url(SUPERUSER, "postgres").replace("@127.0.0.1:", f"@{host}:")
        self._primary_url = f"{url}?application_name={name}"

    def promote(self) -> None:
        """Return when it accepts writes."""
        programs = reachable_programs(find_programs(), self._account)
        self._run([str(programs / "pg_ctl"), "promote", "-w", "-D", str(self._data)])

    def _make_cluster(self, programs: Path) -> None:
        copy = [str(programs / "pg_basebackup"), "--pgdata", str(self._data), "--dbname", self._primary_url]
        self._run([*copy, "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
