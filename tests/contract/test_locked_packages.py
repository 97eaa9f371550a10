"""Locked packages: each has a hash, and what the product brings has a licence that its users can live with."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Final

import pytest

from deploy.audit import locks
from tests.contract.places import ROOT

RUN_TIME: Final = ROOT / "deploy" / "requirements.lock"
# SPDX's names. All let others use, change and pass on, and none asks for the source of what uses it; the files of a
# package under MPL-2.0 stay under it.
ALLOWED: Final = {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"}
# What packages say who do not use SPDX's names.
SAID: Final = {
    "3-Clause BSD License": "BSD-3-Clause", "Apache 2.0": "Apache-2.0", "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause", "ISC License": "ISC", "ISC License (ISCL)": "ISC", "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0",
}  # fmt: skip
# For other Pythons or systems than this one; looked up by hand.
ELSEWHERE: Final = {"async-timeout": "Apache-2.0", "backports-zstd": "PSF-2.0", "colorama": "BSD-3-Clause",
                    "httpx2-jsfetch": "BSD-3-Clause", "lz4": "BSD-3-Clause", "tzdata": "Apache-2.0"}  # fmt: skip
PACKAGE: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def licences_of(package: str) -> set[str]:
    """What its metadata say, as SPDX's names; of several to choose from, all."""
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return {ELSEWHERE[package]}
    if expression := about.get("License-Expression"):
        return set(re.split(r" AND | OR ", expression))
    classified = [one.split(" :: ")[-1] for one in about.get_all("Classifier") or () if one.startswith("License ::")]
    said = classified or [str(about.get("License"))]
    return {SAID.get(one, one) for one in said}


@pytest.mark.parametrize("package", [name for name, _ in PACKAGE.findall(RUN_TIME.read_text())])
def test_the_licence_of_what_the_product_brings_is_allowed(package: str) -> None:
    assert licences_of(package) <= ALLOWED


@pytest.mark.parametrize("lock", locks(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_locked_package_has_one_version_and_a_hash(lock: Path) -> None:
    entries = [one for one in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text()) if PACKAGE.match(one)]

    assert entries
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
        assert not re.search(r"://| @ ", entry), entry.splitlines()[0]
