"""Forms that a page does not show, sent all the same."""

from typing import Any

from portal.visitors import Visitor


async def send(visitor: Visitor, path: str, *, status: int, **fields: Any) -> None:
    """With the token of the session, as somebody could who makes the form themselves."""
    token = visitor.page.xpath("//form[@action='/logout']//input[@name='csrf_token']/@value")[0]
    headers = {
        "accept": "text/html",
        "origin": str(visitor.browser.base_url).rstrip("/"),
        "sec-fetch-site": "same-origin",
    }
    answer = await visitor.browser.post(path, data={"csrf_token": token} | fields, headers=headers)
    assert answer.status_code == status, (path, answer.status_code, answer.text[:500])
