"""Known vulnerabilities of all locked packages, by pip-audit: `make audit`.

Exit code 1: one was found, or a package is unknown. 2: the service cannot be asked, so that nothing was found out.
"""

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.embedded.venvs import ROOT, beside

LOCK: Final = ROOT / "deploy" / "embedded" / "audit-requirements.lock"
PYPI: Final = "https://pypi.org/pypi/pip/18.0/json"
OSV: Final = "https://api.osv.dev/v1/query"
# A version that has vulnerabilities, also in PYPI: a service that names none for it knows nothing.
KNOWN: Final = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "18.0"}
TIMEOUT_S: Final = 15
# By id, why it does not matter here. Looked at again at each release.
ACCEPTED: Final[dict[str, str]] = {}


def locks() -> list[Path]:
    """Of run time, of images, of development and of the tests' clients."""
    return sorted(path for path in ROOT.rglob("*.lock") if not path.relative_to(ROOT).parts[0].startswith("."))


def fault_of(service: str, osv_url: str) -> str | None:
    """Why the service cannot be asked; None: it can."""
    address, body = (PYPI, None) if service == "pypi" else (osv_url, json.dumps(KNOWN).encode())
    asked = urllib.request.Request(address, body, {"content-type": "application/json"})  # noqa: S310  addresses of operators
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as response:  # noqa: S310
            answer = json.load(response)
    except (OSError, ValueError) as exc:
        return f"{address}: {exc}"
    known = answer.get("vulnerabilities" if service == "pypi" else "vulns") if isinstance(answer, dict) else None
    return None if known else f"{address} names no vulnerabilities"


def audit(lock: Path, service: str, osv_url: str) -> bool:
    """Whether no package of the lock has a known vulnerability. One that the service does not know is a fault too."""
    program = [str(beside("audit") / "bin" / "python"), "-m", "pip_audit", "--requirement", str(lock)]
    program += ["--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off"]
    program += ["--vulnerability-service", service, *(["--osv-url", osv_url] if service == "osv" else [])]
    program += [word for one in ACCEPTED for word in ("--ignore-vuln", one)]
    print(f"{lock.relative_to(ROOT)}:", flush=True)
    return subprocess.run(program, check=False).returncode == 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make audit")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    parser.add_argument("--osv-url", default=OSV)
    asked = parser.parse_args(arguments)
    if (fault := fault_of(asked.service, asked.osv_url)) is not None:
        print(f"make audit: nothing was audited, for no vulnerabilities can be read here ({fault}).", file=sys.stderr)
        return 2
    clean = [audit(lock, asked.service, asked.osv_url) for lock in locks()]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
