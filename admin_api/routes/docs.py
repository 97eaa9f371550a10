"""`/docs`: Swagger UI, from a package and not from a CDN, and the pages of `docs/`; not in the OpenAPI document."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from gateway.domain.errors import GatewayError

router = APIRouter(include_in_schema=False)
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>LiteMaaS API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
# A session needs the header for requests that change something; with a token it does no harm.
START: Final = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#ui", deepLinking: true,
  requestInterceptor: (request) => { request.headers["x-litemaas-csrf"] = "docs"; return request; },
});
"""
ASSETS: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
# Swagger UI sets styles by script and has its icons in data: URLs.
POLICY: Final = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
HEADERS: Final = {"content-security-policy": POLICY}


def docs_folder() -> Path:
    """Beside the packages: in a wheel under a name of its own, in the checkout as it is."""
    top = Path(__file__).parents[2]
    packaged = top / "litemaas_docs"
    return packaged if packaged.is_dir() else top / "docs"


# By name, so that no path is made of what a caller sends.
PAGES: Final = {page.name: page for page in docs_folder().glob("*.md")}


@router.get("/redoc")
async def lead_to_docs() -> Response:
    """Where people look first."""
    return RedirectResponse("/docs", 307)


@router.get("/docs")
async def show_docs() -> Response:
    """The HTML page."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)


@router.get("/docs/{name}")
def show_asset(name: str) -> Response:
    """Scripts and styles of the page, and pages of documentation as text."""
    if name in PAGES:
        return Response(PAGES[name].read_bytes(), media_type="text/plain; charset=utf-8", headers=HEADERS)
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=HEADERS)
    if name not in ASSETS:
        raise GatewayError("not_found", "There is no such file.")
    # Found by its folder: importing the package would import FastAPI extensions that are not needed.
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers=HEADERS | {"cache-control": "max-age=86400"})
