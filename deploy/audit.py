"""Known vulnerabilities of all locked packages, by pip-audit: `make audit`.

Exit code 1: one was found, or a package is unknown. 2: the service cannot be asked, so that nothing was found out.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from deploy.embedded.venvs import ROOT, beside

LOCK: Final = ROOT / "deploy" / "embedded" / "audit-requirements.lock"
# A version that has vulnerabilities: a service that names none for it knows nothing.
KNOWN: Final = "pip==18.0"
# By id, why it does not matter here. Looked at again at each release.
ACCEPTED: Final[dict[str, str]] = {}


def locks() -> list[Path]:
    """Of run time, of images, of development and of the tests' clients."""
    return sorted(path for path in ROOT.rglob("*.lock") if not path.relative_to(ROOT).parts[0].startswith("."))


def fault_of(service: Sequence[str]) -> str | None:
    """Why the service, given by options of pip-audit, cannot be asked; None: it can."""
    with NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{KNOWN}\n")
        file.flush()
        program = [*pip_audit(Path(file.name), service), "--no-deps", "--format", "json"]
        done = subprocess.run(program, check=False, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return done.stderr.strip().rpartition("\n")[2] or f"pip-audit ended with {done.returncode}"
    return None if any(one.get("vulns") for one in found) else f"it names no vulnerabilities of {KNOWN}"


def pip_audit(requirements: Path, service: Sequence[str]) -> list[str]:
    program = [str(beside("audit") / "bin" / "python"), "-m", "pip_audit", "--requirement", str(requirements)]
    return [*program, "--disable-pip", "--strict", "--progress-spinner", "off", *service]


def audit(lock: Path, service: Sequence[str]) -> bool:
    """Whether no package of the lock has a known vulnerability. One that the service does not know is a fault too."""
    program = [*pip_audit(lock, service), "--require-hashes"]
    program += [word for one in ACCEPTED for word in ("--ignore-vuln", one)]
    print(f"{lock.relative_to(ROOT)}:", flush=True)
    return subprocess.run(program, check=False).returncode == 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make audit")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    parser.add_argument("--osv-url")
    asked = parser.parse_args(arguments)
    service = ["--vulnerability-service", asked.service, *(["--osv-url", asked.osv_url] if asked.osv_url else [])]
    if (fault := fault_of(service)) is not None:
        print(f"make audit: nothing was audited, for no vulnerabilities can be read here ({fault}).", file=sys.stderr)
        return 2
    clean = [audit(lock, service) for lock in locks()]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
