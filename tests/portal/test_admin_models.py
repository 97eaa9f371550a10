"""Models and prices as an admin sets them: who may use which, what it costs, and what LiteLLM says."""

from decimal import Decimal

from factories import ADMIN, apply, seen_model

from admin_api.operations.models import models
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, NewVisitor

SLASHED = 'vendor/"a&b"/<i>'
FLAGS = "SELECT enabled, restricted, hidden, description FROM models WHERE name = $1"


async def test_an_admin_decides_who_may_use_a_model(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, eva = await new_visitor("ana", is_admin=True), await new_visitor("eva", is_admin=True)
    await apply(pool, seen_model(OPEN), seen_model("restricted-model"), seen_model(SLASHED))
    await ana.open("/admin/models?state=restricted")
    assert [row[0] for row in ana.rows("models")] == ["restricted-model", SLASHED]
    await ana.open("/admin/models")
    path = ana.page.xpath(f"//a[text()={SLASHED!r}]/@href")[0]
    await ana.open(path)
    await eva.open(path)
    form = next(form.get("action") for form in ana.page.iter("form") if form.get("id") == "model")

    await ana.submit(form, restricted=[], hidden="yes", description="For <b>tests</b>")
    await eva.submit(form, status=412, enabled=[])

    assert tuple(await pool.fetchrow(FLAGS, SLASHED)) == (True, False, True, "For <b>tests</b>")
    assert "ana@example.org changed this meanwhile" in eva.text
    assert "hidden: no → yes" in eva.text
    await ana.open("/admin/models?state=hidden")
    assert [row[0] for row in ana.rows("models")] == [SLASHED]
    await ana.open("/admin/audit?about=" + f"model:{(await models.find_model(pool, ADMIN, SLASHED)).model.id}")
    assert ana.rows("audit")[0][2].startswith("model.update")


async def test_a_price_is_previewed_set_and_taken_back(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    units = {"input": Decimal("0.000003"), "output": Decimal("0.000015")}
    await apply(pool, seen_model(OPEN, units=units), seen_model("restricted-model"))
    path = f"/admin/models/price/{OPEN}"
    count = "SELECT count(*) FROM model_prices"
    versions = await pool.fetchval(count)

    await ana.open(path)
    assert ["Input, a million tokens", "$3.00", "$3.00"] in ana.rows("comparison")
    await ana.submit(path, button="Preview", input_per_million_usd="2.5", output_per_million_usd="15")
    assert ["Input, a million tokens", "$3.00", "$2.50"] in ana.rows("preview")
    # 1,000 x 3 + 500 x 15 USD, a million; then 1,000 x 2.5 + 500 x 15.
    assert ana.rows("preview")[-1][1:] == ["$0.0105", "$0.01"]
    assert await pool.fetchval(count) == versions
    await ana.submit(path, status=422, button="Set the price", input_per_million_usd="2500")
    assert "Is the unit right?" in ana.text
    assert await pool.fetchval(count) == versions
    await ana.submit(path, button="Set the price", input_per_million_usd="2.5", reason="a discount")
    assert await pool.fetchval(count) == versions + 1
    assert ["Input, a million tokens", "$2.50", "$3.00"] in ana.rows("comparison")
    await ana.submit(f"/admin/models/undo-price/{OPEN}")
    assert ["Input, a million tokens", "$3.00", "$3.00"] in ana.rows("comparison")
    price = (await models.find_model(pool, ADMIN, OPEN)).price
    assert price is not None
    assert (price.price.input, price.source) == (Decimal("0.000003"), "litellm")
