"""What holds for every page of the portal, checked on each one that a test fetches."""

import re
from typing import Any, Final

from lxml import html

# Of a moment or an amount that no formatter wrote.
UNFORMATTED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d|\b\d+(\.\d+)? USD\b|nano_usd")
NEEDS_NO_LABEL: Final = ("hidden", "submit", "button")


def parse(text: str) -> Any:
    """The document."""
    return html.document_fromstring(text)


def broken_rules(text: str, *, language: str, zone: str | None) -> list[str]:
    """What is wrong with a page of a person with this language and time zone, in sentences."""
    page = parse(text)
    found = _of_heading(page, language) + _of_ids(page) + _of_fields(page) + _of_forms(page) + _of_scripts(page)
    shown = page.find("body").text_content()
    if (leak := UNFORMATTED.search(shown)) is not None:
        found.append(f"{leak[0]!r} was written by no formatter")
    if zone is not None and page.findall(".//time") and zone not in shown:
        found.append(f"times are shown, and the zone {zone} is not")
    return found


def _of_heading(page: Any, language: str) -> list[str]:
    headings = [one.text_content().strip() for one in page.iter("h1")]
    title = page.findtext(".//title")
    found = []
    if len(headings) != 1:
        found.append(f"{len(headings)} headings h1")
    elif title != f"{headings[0]} · LiteMaaS":
        found.append(f"the title is {title!r}, the heading {headings[0]!r}")
    if page.get("lang") != language:
        found.append(f"the page's language is {page.get('lang')!r}")
    return found


def _of_ids(page: Any) -> list[str]:
    ids = page.xpath("//@id")
    twice = sorted({one for one in ids if ids.count(one) > 1})
    named = [
        name
        for names in page.xpath("//@for | //@aria-labelledby | //@aria-describedby | //@aria-controls")
        for name in names.split()
    ]
    return [f"the id {one} is there twice" for one in twice] + [
        f"no element has the id {one}" for one in named if one not in ids
    ]


def _of_fields(page: Any) -> list[str]:
    labelled = set(page.xpath("//label/@for"))
    fields = page.xpath("//input | //select | //textarea")
    return [
        f"the field {one.get('name')} has no label"
        for one in fields
        if one.get("type") not in NEEDS_NO_LABEL and one.get("id") not in labelled and not one.get("aria-label")
    ]


def _of_forms(page: Any) -> list[str]:
    found = []
    for form in page.iter("form"):
        method, action = form.get("method"), form.get("action")
        if method not in ("get", "post") or not action:
            found.append(f"a form has the method {method} and the action {action}")
        if method == "post" and not form.xpath(".//input[@type='hidden'][@name='csrf_token']/@value"):
            found.append(f"the form {action} has no token")
    return found


def _of_scripts(page: Any) -> list[str]:
    found = [f"a style within the page: {one}" for one in page.xpath("//@style")]
    found += ["a style element" for _ in page.iter("style")]
    found += [f"a script within the page: {one.text[:50]!r}" for one in page.iter("script") if one.text]
    found += [
        f"a handler within the page: {name}" for one in page.iter() for name in one.attrib if name.startswith("on")
    ]
    found += [f"an address that leads nowhere: {one}" for one in page.xpath("//a/@href") if one in ("", "#")]
    return found
