"""Runs commands of `litemaas`, each in a process of its own that is forked from this one, which has imported them.

Starting Python and importing takes 0.3 s of CPU, most commands a tenth of it. `command_server.py SOCKET` listens on a
Unix socket. A caller sends one line of JSON (`arguments`, `env`, `out` and `err`, the files for its output, and
`heeds_modes`, for a process of root that may not pass by the modes of files), and reads the exit code as a line. It
ends with the process that started it.
"""

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import Any, Final

from admin_api.cli import app
from gateway.web.logs import configure_logs

# Imported when a command runs.
MODULES: Final = ("asyncpg", "admin_api.cli.failures", "admin_api.cli.programs", "admin_api.cli.session")
LOOK_S: Final = 1.0
# Of linux/capability.h.
LINUX_CAPABILITY_VERSION_3: Final = 0x20080522
CAP_DAC_OVERRIDE: Final = 1


def serve(path: str) -> None:
    """Until the parent is gone."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        server.settimeout(LOOK_S)
        # Nobody waits for the processes that answer.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        gc.freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while os.getppid() == parent:
            try:
                caller, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                server.close()
                answer(caller)
            caller.close()


def answer(caller: socket.socket) -> None:
    """In a process of its own: runs the command in another one, and sends its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    caller.settimeout(None)
    with caller.makefile("r") as lines:
        asked = json.loads(lines.readline())
    command = os.fork()
    if command == 0:
        caller.close()
        os._exit(run(asked))
    _, status = os.waitpid(command, 0)
    caller.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    # At another end coverage.py would write what the command has written, while the tests may be over.
    os.kill(os.getpid(), signal.SIGKILL)


def heed_modes() -> None:
    """Without CAP_DAC_OVERRIDE (capabilities(7)), from here on."""
    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    # The first of each three are those in effect.
    sets[0] &= ~(1 << CAP_DAC_OVERRIDE)
    if libc.capset(header, sets) != 0:
        raise OSError("the capability cannot be dropped")


def run(asked: dict[str, Any]) -> int:
    """As the program `litemaas` with these arguments and environment."""
    for descriptor, file, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY | os.O_CREAT),
        (2, asked["err"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(file, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    if asked["heeds_modes"] and os.geteuid() == 0:
        heed_modes()
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["litemaas", *asked["arguments"]]
    code: Any = 0
    try:
        app.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


if __name__ == "__main__":
    for name in (*(f"admin_api.cli.{app.MODULES.get(group, group)}" for group in app.GROUPS), *MODULES):
        import_module(name)
    # The program does so when it first needs them.
    configure_logs("warning")
    serve(sys.argv[1])
