"""The rights of the Redis user that docs/operations.md describes, and what a server says of a user's tries."""

import re
from typing import Any, Final

from deploy.embedded.programs import ROOT

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
DOCUMENTED: Final = re.findall(r"^ACL SETUSER litemaas on >password (.+)$", PAGE, re.MULTILINE)[0].split()
IN_A_CLUSTER: Final = re.findall(r"with `(\+[^`]+)` besides", PAGE)[0].split()


def of_start_script() -> list[str]:
    """Those that the Valkey of the compose file gives its user."""
    script = (ROOT / "deploy" / "valkey" / "start.sh").read_text()
    return re.findall(r"^user default on >\S+ (.+)$", script, re.MULTILINE)[0].split()


def denied(stats: dict[str, Any]) -> int:
    """By INFO stats: commands, keys and channels that a user was denied."""
    return sum(int(stats[f"acl_access_denied_{what}"]) for what in ("cmd", "key", "channel"))


def used(command_stats: dict[str, Any]) -> set[str]:
    """By INFO commandstats: commands that ran, those of scripts too, as in a rule."""
    return {f"+{name.removeprefix('cmdstat_')}" for name, about in command_stats.items() if about["calls"]}
