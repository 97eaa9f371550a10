"""How many files and connections a program may have open."""

import resource
from contextlib import suppress
from typing import Final

# More than a program needs. Some systems have a hard limit of a thousand million, or none.
MOST: Final = 2**20


def open_files_allowed() -> int:
    """What `raise_open_files` can have: the hard limit, up to MOST."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def raise_open_files() -> None:
    """Raises the soft limit of this process and of those that it starts. Container engines set it to 1,024, which is
    meant for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = open_files_allowed()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS has a lower limit of its own.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
