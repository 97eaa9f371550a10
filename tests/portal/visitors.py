"""Someone with a browser without JavaScript: reads pages, follows links and sends the forms that are on them."""

from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from lxml import html

from portal.house_rules import broken_rules, parse

POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


@dataclass(slots=True)
class Visitor:
    """`language` and `zone` are what their pages must have."""

    browser: httpx2.AsyncClient
    language: str = "en"
    zone: str | None = "UTC"
    path: str = ""
    answer: httpx2.Response = field(init=False)
    page: Any = field(init=False)

    async def open(self, path: str, *, status: int = 200) -> Any:
        """The document at this path, after redirects within the portal."""
        self._take(await self.browser.get(path, headers=self._headers(), follow_redirects=True), status)
        return self.page

    async def submit(self, action: str, *, status: int = 200, button: str | None = None, **fields: Any) -> Any:
        """Sends the form of this page with this action, with its own values unless others are given."""
        forms = [form for form in self.page.iter("form") if form.get("action") == action]
        assert forms, f"{self.path} has no form {action}"
        sent = self._values(forms[0], button) | fields
        unknown = fields.keys() - {str(one.get("name")) for one in forms[0].iter("input", "select", "textarea")}
        assert not unknown, f"the form {action} has no fields {unknown}"
        headers = self._headers() | {"origin": str(self.browser.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
        if forms[0].get("method") == "post":
            answer = await self.browser.post(action, data=sent, headers=headers, follow_redirects=True)
        else:
            answer = await self.browser.get(action, params=sent, headers=self._headers(), follow_redirects=True)
        self._take(answer, status)
        return self.page

    async def post(self, action: str, **fields: Any) -> httpx2.Response:
        """Sends a form that is not on the page, with the token of one that is; the answer as it is."""
        token = self.page.xpath("//input[@name='csrf_token']/@value")[0]
        headers = self._headers() | {"origin": str(self.browser.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
        return await self.browser.post(action, data={"csrf_token": token} | fields, headers=headers)

    @property
    def text(self) -> str:
        """Of the main part."""
        return " ".join(self.page.get_element_by_id("main").text_content().split())

    def actions(self) -> set[str]:
        """Of all forms on the page."""
        return {str(form.get("action")) for form in self.page.iter("form")}

    def rows(self, table: str) -> list[list[str]]:
        """The cells of a table's body."""
        body = self.page.get_element_by_id(table).find("tbody")
        return [[" ".join(cell.text_content().split()) for cell in row.iter("td")] for row in body.iter("tr")]

    def _headers(self) -> dict[str, str]:
        return {"accept": "text/html", "accept-language": self.language}

    def _take(self, answer: httpx2.Response, status: int) -> None:
        self.answer, self.path = answer, answer.url.path
        assert answer.status_code == status, (answer.status_code, answer.text[-2000:])
        assert answer.headers["content-type"].startswith("text/html"), answer.text[:500]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"] == POLICY
        self.page = parse(answer.text)
        assert broken_rules(answer.text, language=self.language, zone=self.zone) == [], self.path

    def _values(self, form: html.FormElement, button: str | None) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for one in form.iter("input", "select", "textarea"):
            name = one.get("name")
            if one.tag == "select":
                values[name] = next(
                    (o.get("value") for o in one.iter("option") if o.get("selected") is not None),
                    one.find("option").get("value"),
                )
            elif one.get("type") == "checkbox":
                if one.get("checked") is not None:
                    values.setdefault(name, []).append(one.get("value"))
            elif one.get("type") == "hidden" and name in values:
                values[name] = [*([values[name]] if isinstance(values[name], str) else values[name]), one.get("value")]
            elif one.tag == "textarea":
                values[name] = one.text or ""
            else:
                values[name] = one.get("value", "")
        if button is not None:
            pressed = next(one for one in form.iter("button") if one.text_content().strip() == button)
            if pressed.get("name"):
                values[pressed.get("name")] = pressed.get("value")
        return values
