"""Every service of the compose file is hardened: each must have all of it, also one that is added later (S12)."""

import re
from typing import Any, Final

import pytest
import yaml

from tests.contract.tables import ROOT

DEPLOY: Final = ROOT / "deploy"
SERVICES: Final[dict[str, dict[str, Any]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
# What a service may have. Anything else is looked at first: `cap_add`, `privileged`, `network_mode`, `pid`, `devices`
# and more give a container rights on its host.
ALLOWED: Final = set(
    """image build command entrypoint env_file environment depends_on ports volumes
    healthcheck restart stop_grace_period user read_only tmpfs cap_drop security_opt mem_limit shm_size
    pids_limit logging""".split()  # noqa: SIM905  a long list
)
DIGEST: Final = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
LOOPBACK: Final = re.compile(r"127\.0\.0\.1:\d+:\d+")
NOT_ROOT: Final = re.compile(r"[1-9]\d*:[1-9]\d*")
UNITS: Final = {"k": 2**10, "m": 2**20, "g": 2**30}


def stages() -> dict[str, str]:
    """The Dockerfile's, by name, with all lines of the stages they stand on."""
    found: dict[str, str] = {}
    for text in re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]:
        head = re.match(r"(\S+) AS (\S+)\n", text)
        assert head is not None
        found[head[2]] = found.get(head[1], "") + text
    return found


def size(text: object) -> int:
    found = re.fullmatch(r"(\d+)([kmg])", str(text))
    return int(found[1]) * UNITS[found[2]] if found else 0


def is_not_root(service: dict[str, Any]) -> bool:
    if "build" in service and "user" not in service:
        users = re.findall(r"^USER (\S+)", stages()[service["build"]["target"]], re.MULTILINE)
        return bool(users) and users[-1].isdecimal() and users[-1] != "0"
    return NOT_ROOT.fullmatch(str(service.get("user"))) is not None


def is_mounted_safely(volume: object) -> bool:
    """A named volume, or a file or folder beside the compose file, which cannot be changed through it."""
    source, _, rest = str(volume).partition(":")
    return isinstance(volume, str) and (
        re.fullmatch(r"[\w-]+", source) is not None or (source.startswith("./") and rest.endswith(":ro"))
    )


def weaknesses(service: dict[str, Any]) -> set[str]:
    """What a service lacks."""
    logs = service.get("logging", {}).get("options", {})
    checks = {
        "a digest, or built here": "build" in service or DIGEST.fullmatch(service["image"]) is not None,
        "a user that is not root": is_not_root(service),
        "a file system that is read only": service.get("read_only") is True,
        "no capabilities": service.get("cap_drop") == ["ALL"],
        "no new privileges": service.get("security_opt") == ["no-new-privileges:true"],
        "a bound of its memory": size(service.get("mem_limit")) > 0,
        "a bound of its processes": isinstance(service.get("pids_limit"), int) and service["pids_limit"] > 0,
        "a bound of its logs": size(logs.get("max-size")) > 0 and str(logs.get("max-file")).isdecimal(),
        "a bound of its temporary files": bool(service.get("tmpfs"))
        and all(re.search(r"[:,]size=\d+[kmg]\b", one) for one in service["tmpfs"]),
        "ports on loopback": all(LOOPBACK.fullmatch(str(port)) for port in service.get("ports", ())),
        "volumes that change nothing else": all(is_mounted_safely(one) for one in service.get("volumes", ())),
        "nothing that is not allowed": set(service) <= ALLOWED,
        "a restart of its own": "restart" in service,
    }
    return {name for name, is_there in checks.items() if not is_there}


@pytest.mark.parametrize("name", SERVICES)
def test_s12_every_service_is_hardened(name: str) -> None:
    assert weaknesses(SERVICES[name]) == set()


def test_s12_a_service_without_any_of_it_is_found() -> None:
    bare = {
        "image": "redis:8",
        "ports": ["6379:6379"],
        "volumes": ["/var/run/docker.sock:/var/run/docker.sock"],
        "privileged": True,
    }

    assert len(weaknesses(bare)) == 13


WEAKENED: Final[dict[str, Any]] = {
    "image": "postgres:17@sha256:abc",
    "user": "0:0",
    "read_only": False,
    "cap_drop": ["NET_RAW"],
    "security_opt": ["no-new-privileges:false"],
    "mem_limit": None,
    "pids_limit": -1,
    "logging": {"driver": "local", "options": {"max-size": "50m"}},
    "tmpfs": ["/run"],
    "ports": ["0.0.0.0:5432:5432"],
    "volumes": ["./postgres:/etc/postgres"],
    "cap_add": ["SETUID"],
    "network_mode": "host",
}


@pytest.mark.parametrize("field", WEAKENED)
def test_s12_each_weakening_of_a_service_is_found(field: str) -> None:
    assert len(weaknesses(SERVICES["postgres"] | {field: WEAKENED[field]})) == 1


def test_s12_images_are_built_on_images_named_by_digest() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    foreign = {image for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if image not in stages()}
    copied = set(re.findall(r"--from=(\S+)", text))

    assert foreign == {"${PYTHON}", "scratch"}
    assert DIGEST.fullmatch(arguments["PYTHON"])
    assert copied <= set(stages())


def test_s12_every_redis_url_has_the_password() -> None:
    urls = {
        value
        for service in SERVICES.values()
        for value in service.get("environment", {}).values()
        if str(value).startswith("redis")
    }

    assert urls == {"redis://:${VALKEY_PASSWORD:?}@valkey:6379/0"}
