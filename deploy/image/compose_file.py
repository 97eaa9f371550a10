"""What deploy/compose.yaml says: the order of its services, and what each gets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.embedded.processes import NotStarted
from deploy.embedded.programs import ROOT

DEPLOY: Final = ROOT / "deploy"
FILE: Final = DEPLOY / "compose.yaml"
VARIABLE: Final = re.compile(r"\$(?:(\$)|\{(\w+)(?::(\?)|:-([^}]*))?\})")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def needs(service: Mapping[str, Any]) -> dict[str, str]:
    """Which services come before it, and what they must have reached."""
    before = service.get("depends_on", {})
    if isinstance(before, list):
        return dict.fromkeys(before, "service_started")
    return {name: one["condition"] for name, one in before.items()}


def needs_in_all(name: str, among: Mapping[str, dict[str, Any]]) -> set[str]:
    """Its needs, and theirs."""
    direct = set(needs(among[name]))
    return direct.union(*(needs_in_all(one, among) for one in direct))


def filled_in(value: object, variables: Mapping[str, str]) -> str:
    """A value with its variables. Raise NotStarted if one has no value, as compose would."""

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        if filled := variables.get(found[2]):
            return filled
        if found[4] is None:
            raise NotStarted(f"deploy/compose.yaml names {found[2]}, which deploy/make_env.sh does not write.")
        return found[4]

    return VARIABLE.sub(one, str(value))


def environment(service: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    return {name: filled_in(value, variables) for name, value in service.get("environment", {}).items()}


def mounted_file(service: Mapping[str, Any], inside: str) -> Path:
    """The file that the service has under this name. Raise NotStarted if it has none."""
    for volume in service.get("volumes", ()):
        source, target, *_ = str(volume).split(":")
        if inside == target:
            return DEPLOY / source
        if inside.startswith(f"{target}/"):
            return DEPLOY / source / inside.removeprefix(f"{target}/")
    raise NotStarted(f"deploy/compose.yaml mounts nothing at {inside}.")
