"""Our gateway as an operator runs it: Postgres, Valkey, migrations, keys with limits, and `litemaas gateway`.

Only commands are used, so that any commit's can be measured.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis

from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import NotStarted, free_port
from deploy.embedded.programs import LITEMAAS, CommandLine, Program
from deploy.embedded.valkey import Valkey
from loadtests.bench import installed
from loadtests.bench.answers import MODEL
from loadtests.bench.targets import Target

HUGE: Final = "1000000000"
HUGE_USD: Final = "1000000"
# (level, kind, window). No limit, three on three levels, eight on four levels, and what four levels reasonably hold.
LIMITS: Final[Mapping[int, Sequence[tuple[str, str, str | None]]]] = {
    0: (),
    3: (("key", "rpm", None), ("user", "tpm", None), ("subscription", "tokens", "month")),
    8: (
        ("key", "rpm", None),
        ("key", "tpm", None),
        ("key", "concurrency", None),
        ("key_model", "tpm", None),
        ("subscription", "requests", "month"),
        ("subscription", "tokens", "month"),
        ("user", "rpm", None),
        ("user", "tokens", "day"),
    ),
    14: (
        ("key", "rpm", None),
        ("key", "tpm", None),
        ("key", "concurrency", None),
        ("key", "requests", "day"),
        ("key", "cost", "month"),
        ("key_model", "rpm", None),
        ("key_model", "tpm", None),
        ("subscription", "requests", "month"),
        ("subscription", "tokens", "month"),
        ("user", "rpm", None),
        ("user", "tpm", None),
        ("user", "concurrency", None),
        ("user", "requests", "month"),
        ("user", "tokens", "day"),
    ),
}
# A new subscription has these already.
BY_DEFAULT: Final = ("requests", "tokens")


OURS: Final = "ours"
NO_LOG: Final = ", no access log"


class Site:
    """Everything a gateway needs but the model server, and a key for each number of limits. `command` is the `litemaas`
    of any commit."""

    def __init__(self, folder: Path, command: Path = LITEMAAS, name: str = OURS) -> None:
        self.name = name
        self.folder = folder.absolute()
        self.command = command
        self.postgres = Postgres(self.folder / "postgres")
        self.valkey = Valkey(self.folder / "valkey")
        self.keys: dict[int, str] = {}
        self._env = {
            "LITEMAAS_LITELLM_API_KEY": "not-checked",
            "LITEMAAS_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
            "LITEMAAS_SECRET_KEYS": f"1:{secrets.token_hex(32)}",
            "LITEMAAS_ADMIN_TOKEN": secrets.token_urlsafe(32),
            "LITEMAAS_LOG_LEVEL": "warning",
        }

    def start(self, model_server_url: str, limits: Sequence[int]) -> None:
        """With a user, a subscription and a key for each of these numbers of limits. Raises NotStarted."""
        self.postgres.launch()
        self.valkey.launch()
        self.postgres.wait()
        self.valkey.wait()
        commands = CommandLine(self.folder, self.environment(model_server_url), command=self.command)
        commands.run("migrate")
        with suppress(NotStarted):  # by versions without the setting, whose new models are open
            commands.run("settings", "set", "new_models", "open")
        commands.run("models", "sync")
        # Most of a command's time is its start.
        with ThreadPoolExecutor(2) as pool:
            self.keys = dict(zip(limits, pool.map(lambda number: make_key(commands, number), limits), strict=True))

    def stop(self) -> None:
        self.valkey.discard()
        self.postgres.discard()

    def environment(self, model_server_url: str, **changes: str) -> dict[str, str]:
        """Of a program on this site."""
        return (
            self._env
            | {
                "LITEMAAS_DATABASE_URL": self.postgres.url(APP),
                "LITEMAAS_OWNER_DATABASE_URL": self.postgres.url(OWNER),
                "LITEMAAS_REDIS_URL": self.valkey.url(),
                "LITEMAAS_LITELLM_URLS": model_server_url,
                "LITEMAAS_STATE_DIR": str(self.folder / "state"),
            }
            | changes
        )

    def version(self) -> str:
        """The commit its command is of, and the Python if it is not the one that runs this."""
        folder = self.command.parent
        python = f" on Python {installed.python_build(folder)}" if self.command != LITEMAAS else ""
        return installed.commit(folder) + python

    def redis_counts(self) -> Mapping[str, int]:
        """How often the server has read from a client, and the commands it has carried out."""
        with redis.Redis.from_url(self.valkey.url()) as client:
            stats = client.info("stats")
        return {"reads": int(stats["total_reads_processed"]), "commands": int(stats["total_commands_processed"])}


def make_key(commands: CommandLine, limits: int) -> str:
    """A key of a new user with so many limits."""
    email = f"bench-{limits}@example.com"
    user = commands.read("users", "create", "--email", email)
    subscription = commands.read("subscriptions", "create", "--user", email, "--model", MODEL)
    key = commands.read("keys", "create", "--user", email, "--model", MODEL)
    ids = {"key": key["id"], "key_model": key["id"], "user": user["id"], "subscription": subscription["id"]}
    wanted = LIMITS[limits]
    for kind in BY_DEFAULT:
        if ("subscription", kind, "month") not in wanted:
            target = ("--level", "subscription", "--id", str(ids["subscription"]))
            commands.run("limits", "set", *target, "--kind", kind, "--window", "month", "--amount", "unlimited")
    for level, kind, window in wanted:
        target = ("--level", level, "--id", str(ids[level]), *(("--model", MODEL) if level == "key_model" else ()))
        amount = ("--amount-usd", HUGE_USD, "--confirm") if kind == "cost" else ("--amount", HUGE)
        commands.run("limits", "set", *target, "--kind", kind, *(("--window", window) if window else ()), *amount)
    return str(key["key"])


class Gateway:
    """`litemaas gateway` on a site: a target for each of its keys."""

    def __init__(
        self,
        site: Site,
        limits: Sequence[int],
        *,
        access_log: bool = True,
        workers: int = 1,
        loads: Collection[str] | None = None,
        **changes: str,
    ) -> None:
        self._site = site
        self._limits = limits
        self._loads = loads
        self._has_log = access_log
        self.workers = workers
        self._changes = {"LITEMAAS_ACCESS_LOG": str(access_log).lower(), **changes}
        self.name = f"{site.name}, no access log" if not access_log else site.name
        self._program: Program | None = None

    def version(self) -> str:
        return self._site.version()

    def launch(self, model_server_url: str) -> None:
        folder = self._site.folder / secrets.token_hex(4)
        workers = ("--workers", str(self.workers))
        program = Program(folder, "gateway", free_port(), *workers, command=self._site.command)
        state = {"LITEMAAS_STATE_DIR": str(folder / "state")}
        program.env = self._site.environment(model_server_url, **(state | self._changes))
        self._program = program
        program.launch()

    def wait(self) -> None:
        if self._program is None:
            raise RuntimeError("launch() comes before wait()")
        self._program.wait()

    def targets(self) -> Sequence[Target]:
        if self._program is None:
            raise RuntimeError("launch() comes before targets()")
        about = "" if self._has_log else NO_LOG
        about += f", {self.workers} workers" if self.workers > 1 else ""
        return [
            Target(
                f"{self._site.name}, {number} limits{about}",
                self._program.url,
                {"authorization": f"Bearer {self._site.keys[number]}"},
                self._program.pid,
                self._site.redis_counts,
                self._loads,
            )
            for number in self._limits
        ]

    def stop(self) -> None:
        if self._program is not None:
            self._program.discard()
