"""`/docs`: Swagger UI, from a package and not from a CDN; not in the OpenAPI document."""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

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


@router.get("/docs")
async def show_docs() -> Response:
    """The HTML page."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)


@router.get("/docs/{name}")
def show_asset(name: str) -> Response:
    """Scripts and styles of the page."""
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=HEADERS)
    if name not in ASSETS:
        raise GatewayError("not_found", "There is no such file.")
    # Found by its folder: importing the package would import FastAPI extensions that are not needed.
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers=HEADERS | {"cache-control": "max-age=86400"})
