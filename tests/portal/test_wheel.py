"""A wheel has all that the portal serves, so that an installation needs no npm."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
PORTAL = "admin_api/portal"


def test_a_wheel_has_the_assets_the_templates_the_texts_and_the_licences(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        ROOT,
    ]
    subprocess.run(command, check=True, timeout=100)

    (wheel,) = tmp_path.glob("litemaas-*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        built = json.loads(archive.read(f"{PORTAL}/static/manifest.json"))["names"]
    assert {f"{PORTAL}/static/{name}" for name in built.values()} <= names
    assert {f"{PORTAL}/static/{built['patternfly.css']}{coding}" for coding in (".br", ".gz")} <= names
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / PORTAL / "templates").rglob("*.html")}
    assert templates <= names
    assert {f"{PORTAL}/locales/{language}/LC_MESSAGES/messages.mo" for language in ("es", "fr")} <= names
    assert any(name.endswith("licenses/THIRD_PARTY_LICENSES") for name in names)
    assert not [name for name in names if "node_modules" in name]
