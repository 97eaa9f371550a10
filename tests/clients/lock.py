"""`make lock`, for the packages of Node: every version and hash, and no address."""

import json
import os
import subprocess
from pathlib import Path
from typing import Final

from clients import agents, catalogue, node

PEER: Final = Path(__file__).parents[2] / "loadtests" / "bench" / "portkey"
BROWSER: Final = Path(__file__).parents[1] / "portal" / "browser"
FOLDERS: Final = (catalogue.NODE, catalogue.FRAMEWORKS, agents.FOLDER, PEER, BROWSER)


def lock(folder: Path) -> None:
    """Keeps what is locked already, as far as `package.json` allows."""
    command = [str(node.NODE), str(node.NPM), "install", "--package-lock-only", "--ignore-scripts"]
    subprocess.run([*command, "--no-audit", "--no-fund"], cwd=folder, env=os.environ, check=True, capture_output=True)
    file = folder / "package-lock.json"
    locked = json.loads(file.read_text())
    for package in locked["packages"].values():
        # Where the makers take money.
        package.pop("funding", None)
    file.write_text(json.dumps(locked, indent=2, ensure_ascii=False) + "\n")
    assert "://" not in file.read_text(), f"an address is in {file}"


if __name__ == "__main__":
    for folder in FOLDERS:
        lock(folder)
