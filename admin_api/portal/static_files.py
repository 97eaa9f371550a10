"""What pages load, as deploy/build_portal.py has built it: the names hold a digest, so browsers keep it for ever."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

FOLDER: Final = Path(__file__).with_name("static")
PREFIX: Final = "/static/"
TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# As browsers name them, the smallest first.
CODINGS: Final[Mapping[str, str]] = {"br": ".br", "gzip": ".gz"}
KEEP: Final = "public, max-age=31536000, immutable"
NOT_BUILT: Final = "The portal's assets were not built: run `python deploy/build_portal.py`, or install the project."


@cache
def _names() -> Mapping[str, str]:
    try:
        names: Mapping[str, str] = json.loads((FOLDER / "manifest.json").read_text())["names"]
    except FileNotFoundError:
        raise RuntimeError(NOT_BUILT) from None
    return names


@cache
def _files() -> frozenset[str]:
    """All that may be asked for. No path of a request becomes one of the file system."""
    found = (path for path in FOLDER.rglob("*") if path.is_file() and path.suffix in TYPES)
    return frozenset(path.relative_to(FOLDER).as_posix() for path in found)


def address_of(name: str) -> str:
    """The path by which pages load `portal.css`, say. Raises KeyError for what is not built."""
    return PREFIX + _names()[name]


async def serve(request: Request) -> Response:
    """One file, compressed as the browser takes it."""
    name = request.path_params["name"]
    if name not in _files():
        raise HTTPException(404)
    headers = {"cache-control": KEEP, "vary": "accept-encoding"}
    taken = {part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")}
    path = FOLDER / name
    for coding, suffix in CODINGS.items():
        compressed = path.with_name(path.name + suffix)
        if coding in taken and compressed.exists():
            headers["content-encoding"] = coding
            path = compressed
            break
    return FileResponse(path, headers=headers, media_type=TYPES[Path(name).suffix])
