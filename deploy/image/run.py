"""Becomes a program of the image, with its own environment and our settings: `run.py ENGINE IMAGE PROGRAM ARGUMENT…`.

As user 12345 of group 0, as OpenShift would, without privileges, on a read-only root, with our network. For buildah
IMAGE is JSON: the folder where its files are mounted (`root`), and its environment (`env`); this then runs as root in a
mount namespace of its own (`unshare --mount`). Needs the standard library only.
"""

import ctypes
import json
import os
import subprocess
import sys

UID = 12345
GID = 0
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
SIGTERM = 15
# Of both: everything else in the image is read-only.
# The state is of group 0, as in the image.
WRITABLE = {"/tmp": "size=64m,mode=1777", "/var/lib/litemaas": "size=256m,mode=0770"}  # noqa: S108


def main() -> None:
    engine, image, *program = sys.argv[1:]
    settings = {name: value for name, value in os.environ.items() if name.startswith(("LITEMAAS_", "PROMETHEUS_"))}
    if engine == "buildah":
        mounted = json.loads(image)
        enter(mounted["root"])
        own = dict(line.split("=", 1) for line in mounted["env"])
        os.execvpe(program[0], program, own | settings)  # noqa: S606
    arguments = [
        "run",
        "--rm",
        "--no-healthcheck",
        "--interactive",
        "--read-only",
        f"--user={UID}:{GID}",
        "--cap-drop=ALL",
        "--network=host",
    ]
    arguments += ["--security-opt=no-new-privileges", f"--entrypoint={program[0]}"]
    arguments += [f"--tmpfs={path}:{options}" for path, options in WRITABLE.items()]
    arguments += [f"--env={name}" for name in settings]
    os.execvp(engine, [engine, *arguments, image, *program[1:]])  # noqa: S606


def enter(root: str) -> None:
    """Make the folder our root, without a way to write to it, and become the user. The mounts are in our own
    namespace."""
    mount("--bind", root, root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("--rbind", "/dev", f"{root}/dev")
    for path, options in WRITABLE.items():
        mount("-t", "tmpfs", "-o", options, "tmpfs", root + path)
    os.chroot(root)
    os.chdir("/var/lib/litemaas")
    os.setgroups([])
    os.setgid(GID)
    os.setuid(UID)
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Becoming another user has ended the bond to our parent.
    prctl(PR_SET_PDEATHSIG, SIGTERM)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main()
