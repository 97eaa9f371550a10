"""`make browser`: the Chromium and the axe of the portal's tests, below the virtual environment.

Both come from npm by a lock with hashes. Of `@sparticuz/chromium` only the archives are used, none of its code: it
would start Chromium with arguments that switch off what the tests are about.
"""

import fcntl
import hashlib
import io
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Final

import brotli
from clients import node

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "package-lock.json"
FOLDER: Final = Path(sys.prefix) / "browser"
UNPACKED: Final = FOLDER / "chromium"
AXE: Final = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
PACKAGE: Final = FOLDER / "node_modules" / "@sparticuz"
# The program, and beside it: libraries that a small system lacks (lib/), those that draw, and a font (fonts/).
ARCHIVES: Final = ("al2023", "swiftshader", "fonts")
# Only this font, so that a page looks the same on every machine.
FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{0}/fonts</dir><cachedir>{0}/fonts-cache</cachedir></fontconfig>
"""
# What the package was built for.
IS_BUILT_FOR_THIS: Final = sys.platform == "linux" and platform.machine() == "x86_64"


def install() -> None:
    """Makes the folder what the lock says. Of several processes one does it."""
    stamp = FOLDER / "installed-from"
    with LOCK.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        wanted = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        for path in (LOCK, HERE / "package.json"):
            shutil.copy(path, FOLDER)
        node.install(FOLDER)
        if IS_BUILT_FOR_THIS:
            _unpack(PACKAGE / "chromium" / "bin")
        # A third of what is unpacked.
        shutil.rmtree(PACKAGE)
        stamp.write_text(wanted)


def _unpack(archives: Path) -> None:
    UNPACKED.mkdir()
    program = UNPACKED / "chromium"
    program.write_bytes(_read(archives / "chromium.br"))
    program.chmod(0o755)
    for name in ARCHIVES:
        with tarfile.open(fileobj=io.BytesIO(_read(archives / f"{name}.tar.br"))) as archive:
            archive.extractall(UNPACKED, filter="data")
    (UNPACKED / "fonts.conf").write_text(FONTS.format(UNPACKED))


def _read(path: Path) -> bytes:
    content: bytes = brotli.decompress(path.read_bytes())
    return content


if __name__ == "__main__":
    install()
