"""The catalogue: 200 models, found by filters and read page by page, as cards or as a table; and one model."""

from decimal import Decimal
from typing import Any

from factories import ADMIN, apply, make_model, seen_model

from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.models.price_fields import PRICE_FIELDS
from admin_api.portal.price_texts import UNITS
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.visitors import Visitor

NUMBER = 200
SCRIPT = "<script>alert(1)</script>"


def names_of(page: Any) -> list[str]:
    """Of the models on the page, in either view."""
    return [
        link.text_content() for link in page.get_element_by_id("main").xpath(".//a[starts-with(@href, '/models/')]")
    ]


async def all_pages(visitor: Visitor, path: str) -> list[list[str]]:
    """The names on each page, by following the links to the next."""
    pages, page = [], await visitor.open(path)
    while True:
        pages.append(names_of(page))
        following = page.xpath("//a[@aria-label='Next page']/@href")
        if not following:
            return pages
        page = await visitor.open(following[0])


async def make_catalogue(pool: Pool) -> None:
    usd = {"input": Decimal("0.0000025"), "output": Decimal("0.00001"), "web_search": Decimal("0.01")}
    await apply(
        pool,
        *(
            seen_model(
                f"maker-{number % 4}/model-{number:03}",
                usd,
                provider=f"maker-{number % 4}",
                mode="embedding" if number % 10 == 0 else "chat",
                capabilities=("vision",) if number % 2 else ("function_calling",),
                max_input_tokens=128_000,
            )
            for number in range(NUMBER)
        ),
        accept_missing=True,
    )
    await pool.execute("UPDATE models SET listed = true")


async def test_200_models_are_filtered_and_paged(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await make_catalogue(pool)
    everything = [row["name"] for row in await pool.fetch("SELECT name FROM models ORDER BY name, id")]

    for view, rows in (("cards", 24), ("table", 50)):
        pages = await all_pages(ana, f"/models?view={view}")
        assert [name for names in pages for name in names] == everything
        assert {len(names) for names in pages[:-1]} == {rows}
    await ana.open("/models?view=table")
    await ana.submit("/models", provider="maker-1", capability="vision", mode="chat", search="MODEL-1")
    assert [name for name in everything if name.startswith("maker-1/model-1")] == names_of(ana.page)
    assert ana.page.get_element_by_id("models").tag == "table"
    assert ana.page.xpath("//select[@name='provider']/option/@value")[1:5] == [f"maker-{one}" for one in range(4)]
    await ana.submit("/models", search="no such model")

    assert names_of(ana.page) == []
    assert "No model matches" in ana.text


async def test_a_model_says_what_it_does_and_costs_and_how_to_call_it(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await make_catalogue(pool)
    await pool.execute(
        "UPDATE models SET restricted = false, description = $1 WHERE name = 'maker-1/model-001'", SCRIPT
    )

    page = await ana.open("/models/maker-1/model-001")
    for said in ("$2.50", "$10.00", "$0.01", "128,000", "Chat", "pictures", "can be called", SCRIPT):
        assert said in ana.text, said
    assert page.xpath("//nav[contains(@class, 'breadcrumb')]//a/@href") == ["/models", "/models/maker-1/model-001"]
    for client, said in (("curl", "curl https://"), ("python", "from openai"), ("javascript", 'from "openai"')):
        page = await ana.open(f"/models/maker-1/model-001?client={client}")
        snippet = page.get_element_by_id("snippet-text").text_content()
        assert said in snippet
        assert "maker-1/model-001" in snippet
        assert "https://models.example.org/v1" in snippet
    await ana.submit("/subscriptions")
    await ana.open("/models/maker-1/model-001")

    assert ana.actions().isdisjoint({"/subscriptions"})
    assert "/playground?model=maker-1/model-001" in ana.page.xpath("//a/@href")


async def test_a_model_shows_the_limits_of_the_persons_calls_of_it(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await make_model(pool, "other")
    for name, amount in ((OPEN, 70), ("other", 80)):
        await ana.open(f"/models/{name}")
        await ana.submit("/subscriptions")
        await pool.execute(
            "UPDATE limits SET amount = $1 WHERE subscription_id = (SELECT max(id) FROM subscriptions)", amount
        )
    input_ = LimitInput(kind="rpm", amount=90)
    await set_limit(pool, ADMIN, input_, level="user", target="ana@example.org", model=None, team=None)

    await ana.open(f"/models/{OPEN}")
    assert {row[5] for row in ana.rows("limits")} == {"70", "90"}
    assert {row[0] for row in ana.rows("limits")} >= {"Requests per minute", "Requests per month"}
    await ana.open(f"/models/{RESTRICTED}")

    assert "Your limits" not in ana.text


async def test_marks_of_models(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, boss = await new_visitor(), await new_visitor("boss", is_admin=True)
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)

    await ana.open("/models?view=table")
    marks = {row[0].split()[0]: row[0].split()[1:] for row in ana.rows("models")}
    assert marks == {OPEN: ["active"], RESTRICTED: ["restricted"]}
    await pool.execute("UPDATE models SET hidden = true WHERE name = $1", RESTRICTED)
    await pool.execute("UPDATE models SET enabled = false WHERE name = $1", OPEN)
    assert names_of(await ana.open("/models")) == []

    await boss.open("/models?view=table")
    assert {row[0] for row in boss.rows("models")} == {
        f"{OPEN} cannot be called",
        f"{RESTRICTED} restricted hidden",
    }


def test_every_unit_of_a_price_has_a_name() -> None:
    assert set(UNITS) == set(PRICE_FIELDS)
