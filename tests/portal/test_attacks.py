"""Attacks on people who use the portal: texts that are scripts, pages in frames, logins that lead elsewhere."""

from urllib.parse import parse_qs, quote, urljoin, urlsplit

import asyncpg
import pytest
from conftest import Database
from identity_providers import ADMIN_URL, FakeProvider, log_in

from admin_api.portal.routes import PAGES
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.examples import every_page
from portal.house_rules import parse
from portal.visitors import Visitor

# Ends an attribute, an element and a script; as an element it would be found.
PAYLOAD = "'\"></script></style></textarea><planted-element>&amp;{{7*7}}"
# What the programs themselves write into these columns, and read: nobody sets them freely.
OWN_WORDS = {
    ("users", "time_zone"), ("users", "locale"), ("accounts", "time_zone"), ("schema_migrations", "name"),
}  # fmt: skip
# Unique, and with the @ of an address.
PLANT = """UPDATE "{}" SET "{}" = $1 || '@' || translate(ctid::text, '(,)', '-')"""
TEXTS = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type = 'text' AND c.is_generated = 'NEVER'
ORDER BY 1, 2
"""


async def plant(database: Database) -> set[tuple[str, str]]:
    """Puts the payload into every text column that takes it; returns those that have it now."""
    planted: set[tuple[str, str]] = set()
    owner = await asyncpg.connect(database.owner_url)
    for table, column in await owner.fetch(TEXTS):
        if (table, column) in OWN_WORDS:
            continue
        try:
            done = await owner.execute(PLANT.format(table, column), PAYLOAD)
        except asyncpg.PostgresError:
            # A word of a list, a key of another table, or an append-only table.
            continue
        if not done.endswith(" 0"):
            planted.add((table, column))
    await owner.close()
    return planted


async def furnish(visitor: Visitor, pool: Pool) -> dict[str, str]:
    """A subscription, a request, a key and so on: rows for each page; the addresses of the pages."""
    await visitor.open(f"/models/{RESTRICTED}")
    await visitor.submit("/subscriptions")
    return dict(await every_page(visitor, pool))


async def test_a_text_of_anybodys_is_text_on_every_page(
    new_visitor: NewVisitor, pool: Pool, database: Database
) -> None:
    ana = await new_visitor(is_admin=True)
    pages = await furnish(ana, pool)
    planted = await plant(database)
    renamed = quote(await pool.fetchval("SELECT name FROM models ORDER BY id LIMIT 1"))
    for path in [path for path in pages if path.endswith("/{name:path}")]:
        pages[path] = path.replace("{name:path}", renamed)

    shown = set()
    for path, (get, _) in PAGES.items():
        if get is None:
            continue
        page = await ana.open(pages.get(path, path))
        assert not list(page.iter("planted-element")), path
        if PAYLOAD in page.find("body").text_content() or PAYLOAD in " ".join(page.xpath("//@value")):
            shown.add(path)

    assert planted >= {("users", "name"), ("users", "email"), ("models", "name"), ("models", "provider")}
    assert planted >= {("api_keys", "name"), ("accounts", "name"), ("subscriptions", "reason")}
    # Else the test would see nothing.
    assert shown >= {
        "/home",
        "/models",
        "/models/{name:path}",
        "/subscriptions",
        "/api-keys",
        "/settings",
        "/admin",
        "/admin/requests",
        "/usage/calls",
        "/usage/calls/{request_id}",
        "/refusals",
        "/refusals/{request_id}",
        "/admin/users",
        "/admin/users/{id:int}",
        "/admin/users/{id:int}/anonymise",
        "/admin/models",
        "/admin/models/name/{name:path}",
        "/admin/models/price/{name:path}",
        "/admin/webhooks",
        "/admin/webhooks/{id:int}",
        "/admin/audit",
    }


async def test_a_text_of_the_address_is_text_on_every_page(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor(is_admin=True)
    pages = await furnish(ana, pool)
    names = (
        "search",
        "provider",
        "capability",
        "period",
        "by",
        "metric",
        "cursor",
        "request_id",
        "status",
        "sort",
        "then_by",
        "first",
        "zone",
        "model",
        "user",
        "code",
        "next",
    )
    query = "&".join(f"{name}={quote(PAYLOAD)}" for name in names)

    for path, (get, _) in PAGES.items():
        if get is not None:
            answer = await ana.browser.get(f"{pages.get(path, path)}?{query}", headers={"accept": "text/html"})
            page = parse(answer.text)
            assert not list(page.iter("planted-element")), path
    page = await ana.open(f"/models/{quote(PAYLOAD, safe='')}", status=404)
    assert PAYLOAD in page.find("body").text_content()
    assert not list(page.iter("planted-element"))


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/home",
        "//evil.example/home",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2F/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "home",
    ],
)
async def test_a_login_leads_to_our_pages_only(new_visitor: NewVisitor, provider: FakeProvider, elsewhere: str) -> None:
    visitor = await new_visitor(has_logged_in=False)
    page = await visitor.open(f"/login?next={quote(elsewhere, safe='')}")
    (link,) = [link for link in page.xpath("//a/@href") if link.startswith("/api/auth/login")]
    provider.claims |= {"sub": "ana", "email": "ana@example.org"}

    answer = await log_in(visitor.browser, next=parse_qs(urlsplit(link).query)["next"][0])

    target = urljoin(ADMIN_URL, answer.headers["location"])
    assert urlsplit(target).netloc == urlsplit(ADMIN_URL).netloc
    assert answer.headers["location"].startswith("/")


async def test_a_planted_session_is_not_the_one_of_the_login(new_visitor: NewVisitor, provider: FakeProvider) -> None:
    mallory, victim = await new_visitor("mallory"), await new_visitor(has_logged_in=False)
    planted = mallory.browser.cookies["litemaas_session"]
    victim.browser.cookies.set("litemaas_session", planted, domain="127.0.0.1", path="/")
    provider.claims |= {"sub": "vera", "email": "vera@example.org", "name": "Vera"}

    await log_in(victim.browser, next="/home")

    own = [cookie.value for cookie in victim.browser.cookies.jar if cookie.name == "litemaas_session"]
    assert any(value != planted for value in own)
    # Mallory's session stays Mallory's.
    assert "Mallory" in (await mallory.open("/home")).text_content()


async def test_after_the_logout_no_page_is_shown_and_none_was_kept(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor(is_admin=True)
    pages = await furnish(ana, pool)
    session = ana.browser.cookies["litemaas_session"]
    await ana.submit("/logout")
    ana.browser.cookies.set("litemaas_session", session, domain="127.0.0.1", path="/")

    for path, (get, _) in PAGES.items():
        if get is not None:
            answer = await ana.browser.get(pages.get(path, path), headers={"accept": "text/html"})
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?next=")
            assert answer.headers["cache-control"] == "no-store"


async def test_a_form_from_elsewhere_changes_nothing(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor(is_admin=True)
    pages = await furnish(ana, pool)
    token = (await ana.open("/settings")).xpath("//input[@name='csrf_token']/@value")[0]
    audited = await pool.fetchval("SELECT count(*) FROM audit_logs")
    ours = {"origin": ADMIN_URL, "sec-fetch-site": "same-origin"}
    sent = [
        ({"csrf_token": token}, {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}),
        ({"csrf_token": token}, {"origin": "null", "sec-fetch-site": "cross-site"}),
        ({"csrf_token": "0" * len(token)}, ours),
        ({}, ours),
    ]

    for path, (_, post) in PAGES.items():
        if post is None:
            continue
        place = pages.get(path, path).replace("{id:int}", "1").replace("{action}", "revoke")
        place = place.replace("{name:path}", OPEN)
        for fields, headers in sent:
            answer = await ana.browser.post(place, data={"model": OPEN} | fields, headers=headers)
            assert answer.status_code == 403, (path, fields, headers)
    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == audited


async def test_a_compressed_page_says_nothing_of_the_token_beside_a_text_of_the_address(
    new_visitor: NewVisitor,
) -> None:
    ana = await new_visitor()
    tokens: list[str] = []
    for _ in range(2):
        page = await ana.open("/settings?search=text")
        tokens += page.xpath("//input[@name='csrf_token']/@value")

    assert ana.answer.headers["content-encoding"] == "gzip"
    assert len(tokens) > 2
    assert len(set(tokens)) == len(tokens)
