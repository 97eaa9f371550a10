"""Every page keeps the house rules, in every language; errors are pages too."""

import asyncpg
import pytest
from browsers import oidc, running_admin_api
from conftest import Database
from identity_providers import FakeProvider, log_in

from admin_api.portal.languages import LANGUAGES, translations
from admin_api.portal.navigation import NAVIGATION
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, NewVisitor
from portal.examples import every_page
from portal.visitors import Visitor

END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
ENTRIES = [entry.path for section in NAVIGATION for entry in section.entries]


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_in_every_language(new_visitor: NewVisitor, pool: Pool, language: str) -> None:
    visitor = await new_visitor(language=language, is_admin=True)
    paths = await every_page(visitor, pool)

    seen = set()
    for path in paths.values():
        await visitor.open(path)
        seen.add(visitor.page.findtext(".//h1"))

    assert len(seen) == len(paths)


async def test_the_navigation_leads_to_pages_and_says_where_one_is(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor(is_admin=True)

    for path in ENTRIES:
        page = await visitor.open(path)
        assert page.xpath("//*[@id='sidebar']//a[@aria-current='page']/@href") == [path]


ERRORS = (
    ("/models/none", 404, "There is nothing here"),
    ("/no/such/page", 404, "There is nothing here"),
    ("/api-keys/4711", 404, "There is nothing here"),
    ("/usage?period=someday", 422, "Something is not right yet"),
    ("/api-keys?cursor=nonsense", 422, "Something is not right yet"),
    ("/admin", 403, "You may not do this"),
)


def check_error_page(visitor: Visitor, heading: str) -> None:
    """In the visitor's language, with the id of the request."""
    page = visitor.page
    assert page.findtext(".//h1") == translations(visitor.language).gettext(heading)
    assert visitor.answer.headers["x-request-id"] in page.text_content()


async def test_errors_are_pages_in_the_persons_language(
    new_visitor: NewVisitor, database: Database, pool: Pool
) -> None:
    """Also where the page cannot be begun, as Postgres is away."""
    visitor = await new_visitor()
    for visitor.language in LANGUAGES:
        for path, status, heading in ERRORS:
            await visitor.open(path, status=status)
            check_error_page(visitor, heading)

    owner = await asyncpg.connect(database.owner_url.removesuffix(database.name) + "postgres")
    await owner.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
    await pool.execute(END_OTHERS, database.name)
    for visitor.language in LANGUAGES:
        await visitor.open("/models", status=503)
        check_error_page(visitor, "Not available at this moment")
        assert "asyncpg" not in visitor.answer.text
    await owner.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
    await owner.close()
    await visitor.open("/models")


async def test_too_many_requests_are_a_page_that_says_when_to_come_back(
    database: Database, two_models: None, provider: FakeProvider, redis_url: str
) -> None:
    settings = oidc(provider.url, redis_url=redis_url, admin_calls_per_minute=3)
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        visitor = Visitor(browser, "fr", "UTC")
        await log_in(browser, next="/home")
        while (await browser.get("/home")).status_code != 429:
            pass

        await visitor.open("/home", status=429)

        check_error_page(visitor, "Too many requests")
        assert 0 < int(visitor.answer.headers["retry-after"]) <= 60
        assert "3 appels" in visitor.page.text_content()


async def test_texts_of_others_are_text(new_visitor: NewVisitor, pool: Pool) -> None:
    script = "<script>alert(1)</script>"
    visitor = await new_visitor()
    await pool.execute("UPDATE users SET name = $1", script)
    await pool.execute("UPDATE models SET description = $1, provider = $1", script)

    for path in ("/home", "/models", f"/models/{OPEN}", "/settings"):
        page = await visitor.open(path)
        assert script in page.text_content()
        assert not [one for one in page.iter("script") if one.text]


async def test_a_part_of_a_page_is_its_main_part(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor()
    whole = await visitor.open("/models")

    part = await visitor.browser.get("/models", headers={"hx-request": "true", "accept-language": "en"})

    assert "<html" not in part.text
    assert "Models · LiteMaaS" in part.text
    assert OPEN in part.text
    assert len(part.text) < len(visitor.answer.text)
    assert whole is not None


async def test_assets_are_compressed_and_kept(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor(has_logged_in=False)
    page = await visitor.open("/login")
    paths = [*page.xpath("//link/@href"), *page.xpath("//script/@src")]

    for path in paths:
        answer = await visitor.browser.get(path, headers={"accept-encoding": "gzip"})
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers.get("content-encoding") == "gzip", path
    assert (await visitor.browser.get("/static/../routes.py")).status_code == 404
    assert (await visitor.browser.get("/static/manifest.json")).status_code == 404
