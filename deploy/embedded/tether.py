"""Becomes another program that ends with our parent: `tether.py PARENT SIGNAL UID GID PROGRAM ARGUMENT…`.

A separate program instead of code between fork and exec, which is not safe in a process with threads. It first changes
the account, because that would undo the tether. Needs the standard library only.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, stop_signal, uid, gid = map(int, sys.argv[1:5])
    program = sys.argv[5:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop_signal)
        # It may have died before the signal was requested.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - what it is for


if __name__ == "__main__":
    main()
