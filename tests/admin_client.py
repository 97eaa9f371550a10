"""What tests of the admin API share: settings, routes, and a check of the error shape."""

from functools import cache
from typing import Any

import httpx2
from loopback_servers import LiteLLMInfoServer

from admin_api.main import ROUTERS, create_app
from admin_api.settings import Settings

TOKEN = "0123456789abcdef0123456789abcdef"
SECRET_KEYS = "1:" + "0123456789abcdef" * 4
LOGIN = {"authorization": f"Bearer {TOKEN}"}
NOWHERE = "postgresql://nobody:x@127.0.0.1:1/none"
ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    for method in sorted(getattr(route, "methods", ()))
]


def settings_for(database_url: str, litellm_url: str = "http://127.0.0.1:1", **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "database_url": database_url,
            "litellm_urls": litellm_url,
            "litellm_api_key": LiteLLMInfoServer.KEY,
            "key_peppers": "1:" + "ab" * 32,
            "secret_keys": SECRET_KEYS,
            "admin_token": TOKEN,
            "model_sync_interval_s": 0,
            "log_level": "error",
            "admin_calls_per_minute": 0,
            **more,
        }
    )


@cache
def openapi_document() -> dict[str, Any]:
    """That of the admin API, made once a process: it takes a second. Nobody may change it."""
    return create_app(settings_for(NOWHERE)).openapi()


def check_error(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    """Checks the shape of an error; returns its details."""
    body = answer.json()
    assert (answer.status_code, body["error"]["code"]) == (status, code), answer.text
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id", "details"}
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    details: dict[str, object] = body["error"]["details"]
    return details
