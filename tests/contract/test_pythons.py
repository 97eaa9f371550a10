"""Which Pythons the project is for: the metadata, the lock file, the linters and the pages say the same."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.embedded import venvs

ROOT: Final = Path(__file__).parents[2]
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: Final[dict[str, Any]] = PYPROJECT["project"]
CLASSIFIER: Final = "Programming Language :: Python :: 3."
MINORS: Final = [int(one.removeprefix(CLASSIFIER)) for one in PROJECT["classifiers"] if one.startswith(CLASSIFIER)]
LOWEST, HIGHEST = MINORS[0], MINORS[-1]
PIN: Final = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+))?", re.MULTILINE
)


def environment(minor: int) -> dict[str, str]:
    """What markers ask about, of a machine as an operator has."""
    return {
        "python_version": f"3.{minor}", "python_full_version": f"3.{minor}.5", "sys_platform": "linux", "extra": "",
        "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
        "platform_system": "Linux", "platform_machine": "x86_64", "implementation_version": f"3.{minor}.5",
    }  # fmt: skip


def pins(lock: str, minor: int) -> dict[str, str]:
    """Of one Python: name → version, which a lock file has once for each name."""
    found: dict[str, str] = {}
    for pin in PIN.finditer((ROOT / lock).read_text()):
        if pin["marker"] is None or Marker(pin["marker"].strip()).evaluate(environment(minor)):
            name = canonicalize_name(pin["name"])
            assert name not in found, f"{lock} has {name} twice for Python 3.{minor}"
            found[name] = pin["version"]
    return found


def hashes(lock: str) -> dict[str, set[str]]:
    """Of the archives of each pin."""
    entries = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return {pin[0]: set(re.findall(r"--hash=(\S+)", one)) for one in entries if (pin := re.match(r"\S+==\S+", one))}


def requirements(minor: int, *lists: list[str]) -> list[Requirement]:
    listed = [Requirement(text) for one in lists for text in one]
    return [one for one in listed if one.marker is None or one.marker.evaluate(environment(minor))]


def test_the_list_has_no_gap_and_is_what_may_be_installed_on() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])

    assert list(range(LOWEST, HIGHEST + 1)) == MINORS
    assert [minor for minor in range(40) if allowed.contains(f"3.{minor}.99")] == MINORS
    assert sys.version_info[1] in MINORS


@pytest.mark.parametrize("minor", MINORS)
def test_the_lock_files_have_what_each_python_needs(minor: int) -> None:
    extras = PROJECT["optional-dependencies"].values()
    groups = PYPROJECT["dependency-groups"].values()

    for lock, wanted in (
        ("deploy/requirements.lock", requirements(minor, PROJECT["dependencies"])),
        ("requirements.lock", requirements(minor, PROJECT["dependencies"], *extras, *groups)),
    ):
        pinned = pins(lock, minor)
        assert {one.name for one in wanted if canonicalize_name(one.name) not in pinned} == set(), lock
        for one in wanted:
            assert one.specifier.contains(Version(pinned[canonicalize_name(one.name)]), prereleases=True), one


def test_linters_and_types_are_of_the_lowest() -> None:
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{LOWEST}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == f"3.{LOWEST}"


def test_make_finds_each_of_them_newest_first() -> None:
    makefile = (ROOT / "Makefile").read_text()
    tried = re.search(r"for p in ((?:python[\d.]+ )+)python3;", makefile)

    assert tried is not None
    assert tried[1].split() == [f"python3.{minor}" for minor in reversed(MINORS)]
    assert re.findall(r"\(3, \d+\)", makefile) == [f"(3, {LOWEST})", f"(3, {HIGHEST})"]


@pytest.mark.parametrize("page", ["Makefile", "README.md", "docs/development.md"])
def test_pages_name_the_lowest_and_the_highest(page: str) -> None:
    assert set(re.findall(r"3\.\d+ to 3\.\d+", (ROOT / page).read_text())) == {f"3.{LOWEST} to 3.{HIGHEST}"}


def test_the_image_is_of_one_of_them() -> None:
    base = re.search(r"^ARG PYTHON=python:3\.(\d+)-", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)

    assert base is not None
    assert int(base[1]) in MINORS


@pytest.mark.parametrize(
    ("running", "name"),
    [
        (".venv", ".venv-litellm"),
        (".venv-3.13", ".venv-3.13-litellm"),
        ("elsewhere/.venv-3.13", ".venv-litellm"),
        ("environment", ".venv-litellm"),
    ],
)
def test_what_is_installed_beside_is_of_the_same_python(
    running: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(ROOT / running))

    assert venvs.beside("litellm") == ROOT / name


def test_the_lock_files_hold_the_same_archives() -> None:
    """uv keeps what it wrote before: one that was locked before a Python was added has no wheels for it."""
    image, whole = (hashes(lock) for lock in ("deploy/requirements.lock", "requirements.lock"))

    assert len(image) > 20
    assert {pin for pin in image if image[pin] != whole[pin]} == set(), "run `make lock`"
