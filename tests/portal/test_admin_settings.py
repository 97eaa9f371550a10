"""Settings, and what pages show to everybody because of them."""

from factories import ADMIN

from admin_api.operations.runtime_settings import update_settings
from gateway.storage.postgres import Pool
from portal.conftest import NewVisitor

STORED = "SELECT value::text FROM settings WHERE name = $1"


async def test_settings_are_saved_as_they_are_typed(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    await ana.open("/admin/settings")

    await ana.submit(
        "/admin/settings",
        user_default_monthly_cost_nano_usd="25.000000001",
        new_models="hidden",
        key_maximum_rpm="60",
        team_maximum_keys="",
        alert_thresholds="90, 60",
    )

    stored = {row["name"]: row["value"] for row in await pool.fetch("SELECT name, value::text FROM settings")}
    assert stored["user_default_monthly_cost_nano_usd"] == "25000000001"
    assert (stored["new_models"], stored["key_maximum_rpm"]) == ('"hidden"', "60")
    assert (stored["team_maximum_keys"], stored["alert_thresholds"]) == ("null", "[60, 90]")
    assert "subscription_default_monthly_requests" not in stored
    await ana.open("/admin/settings")
    assert ana.page.get_element_by_id("user_default_monthly_cost_nano_usd").get("value") == "25.000000001"
    assert ana.page.get_element_by_id("alert_thresholds").get("value") == "60 90"


async def test_refused_settings_stand_beside_their_fields(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, eva = await new_visitor("ana", is_admin=True), await new_visitor("eva", is_admin=True)
    await update_settings(pool, ADMIN, {"user_default_monthly_cost_usd": "1"})
    for one in (ana, eva):
        await one.open("/admin/settings")

    await ana.submit("/admin/settings", status=422, key_default_rpm="100", key_maximum_rpm="50")
    assert "must not exceed key_maximum_rpm" in ana.page.get_element_by_id("key_default_rpm-help").text_content()
    await ana.submit("/admin/settings", status=422, key_default_rpm="", display_currency="EUR")
    assert "set together" in ana.page.get_element_by_id("display_currency_rate-help").text_content()
    fields = {"display_currency": "", "user_default_monthly_cost_nano_usd": "5000"}
    await ana.submit("/admin/settings", status=422, **fields)
    assert await pool.fetchval(STORED, "user_default_monthly_cost_nano_usd") == "1000000000"
    await ana.submit("/admin/settings", confirm="yes")
    assert await pool.fetchval(STORED, "user_default_monthly_cost_nano_usd") == "5000000000000"

    await eva.submit("/admin/settings", status=412, new_models="open")
    assert "user default monthly cost: $1.00 → $5,000.00" in eva.text
    assert await pool.fetchval(STORED, "user_default_monthly_cost_nano_usd") == "5000000000000"


async def test_a_banner_and_a_currency_are_on_all_pages(new_visitor: NewVisitor, pool: Pool) -> None:
    script = "<script>alert(1)</script>"
    visitors = {language: await new_visitor(f"user-{language}", language) for language in ("en", "es", "fr")}
    ana = await new_visitor("ana", is_admin=True)
    await ana.open("/admin/settings")
    await ana.submit(
        "/admin/settings",
        banner_en=f"Down on Sunday {script}",
        banner_es="Parada el domingo",
        display_currency="eur",
        display_currency_rate="0.92",
    )
    await ana.open("/admin/settings")

    shown = {}
    for language, visitor in visitors.items():
        page = await visitor.open("/home")
        shown[language] = " ".join(page.find_class("pf-v6-c-banner")[0].text_content().split())
        assert not [one for one in page.iter("script") if one.text]
    assert shown["es"].endswith("Parada el domingo")
    assert shown["en"].endswith(f"Down on Sunday {script}")
    assert shown["fr"].endswith(f"Down on Sunday {script}")
    assert "$0.00 (~ €0.00)" in visitors["en"].text
    await ana.submit("/admin/settings", banner_en="", banner_es="", display_currency="", display_currency_rate="")
    page = await visitors["en"].open("/home")
    assert page.find_class("pf-v6-c-banner") == []
    assert "€" not in visitors["en"].text
