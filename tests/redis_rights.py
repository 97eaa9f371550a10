"""The rights of the Redis user that docs/operations.md describes, and what a server says of a user's tries."""

import re
from typing import Any, Final

import redis

from deploy.embedded.programs import ROOT

PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
DOCUMENTED: Final = re.findall(r"^ACL SETUSER litemaas on >password (.+)$", PAGE, re.MULTILINE)[0].split()
IN_A_CLUSTER: Final = re.findall(r"with `(\+[^`]+)` besides", PAGE)[0].split()


def of_start_script() -> list[str]:
    """Those that the Valkey of the compose file gives its user."""
    script = (ROOT / "deploy" / "valkey" / "start.sh").read_text()
    return re.findall(r"^user default on >\S+ (.+)$", script, re.MULTILINE)[0].split()


def known_to(version: str, rights: list[str]) -> list[str]:
    """As the page says: Redis before 7.2 does not know one of them."""
    of_one, of_two = (int(number) for number in version.split(".")[:2])
    return [right for right in rights if right != "+client|setinfo" or (of_one, of_two) >= (7, 2)]


def denied(client: redis.Redis) -> int:
    """How often a user was denied a command, a key or a channel."""
    said: dict[str, dict[str, int]] = client.info("errorstats")
    return said.get("errorstat_NOPERM", {}).get("count", 0)


def used(command_stats: dict[str, Any]) -> set[str]:
    """By INFO commandstats: commands that ran, those of scripts too, as in a rule."""
    return {f"+{name.removeprefix('cmdstat_')}" for name, about in command_stats.items() if about["calls"]}
