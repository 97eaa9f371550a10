"""Users with a browser at the admin API, logged in through the pages of the identity provider."""

from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

CSRF: Final = {"x-litemaas-csrf": "1"}


@dataclass(slots=True)
class BrowserUser:
    """A user with a browser; `changes` are the request ids of the changes they made."""

    email: str
    browser: httpx2.AsyncClient
    changes: list[str] = field(default_factory=list)

    async def log_in(self) -> dict[str, Any]:
        """Through the pages of the identity provider; returns the user."""
        form = await self.browser.get("/api/auth/login", params={"next": "/api/v1/users/me"})
        assert form.status_code == 200, form.text
        assert form.url.path == "/oauth2/authorize"
        me = await self.browser.post(form.url, data={"sub": self.email})
        assert me.status_code == 200, me.text
        user: dict[str, Any] = me.json()
        return user

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.browser.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def change(self, method: str, path: str, **body: Any) -> Any:
        """A change that must succeed; returns the response body."""
        answer = await self.browser.request(method, f"/api/v1{path}", json=body, headers=CSRF)
        assert answer.is_success, answer.text
        self.changes.append(answer.headers["x-request-id"])
        return answer.json()

    async def expect_error(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """A change that must be refused; returns the error with its status."""
        answer = await self.browser.request(method, f"/api/v1{path}", json=body, headers=CSRF)
        assert answer.status_code >= 400, answer.text
        error: dict[str, Any] = answer.json()["error"]
        return error | {"status": answer.status_code}
