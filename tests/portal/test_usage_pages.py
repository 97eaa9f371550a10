"""From a figure to its calls, from a call to its limits, from a refusal to what to do; and who may see which."""

from datetime import timedelta
from typing import Any

from factories import ADMIN, make_key, make_subscription, make_team, make_user
from usage_rows import make_usage_row, write_rows

from admin_api.operations.limits import limits
from admin_api.operations.people import teams, users
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.made_calls import NOW, refuse
from portal.test_usage_is_true import nano_usd
from portal.visitors import Visitor

LAST_MONTH = NOW.replace(day=1, hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
SCRIPT = "<script>alert(1)</script>"


async def with_key(pool: Pool, name: str) -> dict[str, Any]:
    """Account, user, key and model of calls of this person."""
    user = await users.find_user(pool, ADMIN, f"{name}@example.org")
    await make_subscription(pool, user, OPEN)
    key = (await make_key(pool, user, OPEN)).row
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    about = {"account_id": key.account_id, "user_id": user.id, "api_key_id": key.id, "model_id": model_id}
    return about | {"model_asked": OPEN}


async def click(visitor: Visitor, text: str, *, status: int = 200) -> None:
    """Follows the link with this text."""
    links = [one for one in visitor.page.iter("a") if " ".join(one.text_content().split()) == text]
    assert links, f"{visitor.path} has no link {text}"
    await visitor.open(links[0].get("href"), status=status)


async def test_which_team_spent_most_last_month_and_on_what_in_three_clicks(
    new_visitor: NewVisitor, pool: Pool
) -> None:
    ada = await new_visitor("ada", is_admin=True)
    ben = await make_user(pool, "ben@example.org")
    spent = {"red": {OPEN: 700, RESTRICTED: 200}, "blue": {OPEN: 100, RESTRICTED: 500}}
    rows = []
    for team, models in spent.items():
        account = await make_team(pool, ben, name=team)
        for model, cost in models.items():
            model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", model)
            about = {"account_id": account.id, "user_id": ben.id, "model_id": model_id}
            rows.append(make_usage_row(LAST_MONTH, cost_nano_usd=cost, **about))
    await write_rows(pool, rows)

    await ada.open("/home")
    await click(ada, "Usage of all")
    await click(ada, "Last month")

    shown = [(row[0], nano_usd(row[5])) for row in ada.rows("groups")]
    assert shown == [
        ("red", 900), (OPEN, 700), (RESTRICTED, 200),
        ("blue", 600), (RESTRICTED, 500), (OPEN, 100),
        ("Total", 1500),
    ]  # fmt: skip

    await click(ada, "red")

    assert [(row[0], nano_usd(row[5])) for row in ada.rows("groups")] == [
        (OPEN, 700), (RESTRICTED, 200), ("Total", 900),
    ]  # fmt: skip


async def test_why_a_call_was_refused_in_two_clicks(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana")
    refused = await refuse(pool, await with_key(pool, "ana"))

    await ana.open("/home")
    await click(ana, "Refusals")
    assert ana.page.get_element_by_id("total").text_content() == "1"
    assert ana.page.get_element_by_id("request_id").value == ""
    await ana.submit("/refusals", request_id=str(refused))

    assert ana.path == f"/refusals/{refused}"
    assert "The limit of $25.00 is used up" in ana.text
    assert "ask for more" in ana.text
    assert "$24.999999999" in ana.text
    ana.language = "es"
    await ana.open(ana.path)
    assert "El límite está agotado: Costo por mes" in ana.text
    assert "used up" not in ana.text
    ana.language = "en"
    await ana.open("/refusals")
    await ana.open(ana.page.xpath("//table[@id='calls']//a/@href")[0])
    assert ana.path == f"/refusals/{refused}"


async def test_from_a_figure_to_its_calls_and_from_a_call_to_its_limits(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana")
    about = await with_key(pool, "ana")
    query = limits.LimitInput(kind="tokens", window="month", amount=5000)
    await limits.set_limit(pool, ADMIN, query, level="user", target="ana@example.org", model=None, team=None)
    called = [make_usage_row(NOW - timedelta(seconds=n), cost_nano_usd=10**n, **about) for n in range(3)]
    await write_rows(pool, called)

    await ana.open("/usage?period=last-7-days")
    await ana.open(ana.page.xpath("//table[@id='groups']//tr[1]/td[2]//a/@href")[0])
    assert sorted(nano_usd(row[6]) for row in ana.rows("calls")) == [1, 10, 100]
    await ana.open(ana.page.xpath("//table[@id='calls']//tr[1]//a/@href")[0])

    assert ana.path == f"/usage/calls/{called[0].request_id}"
    assert nano_usd(ana.page.get_element_by_id("cost").text_content()) == 1
    assert ["User", "Tokens per month", "5,000", "17"] in ana.rows("limits")


async def test_the_calls_are_paged_without_gap(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana")
    about = await with_key(pool, "ana")
    await write_rows(pool, [make_usage_row(NOW - timedelta(seconds=n), **about) for n in range(120)])

    await ana.open("/usage/calls?period=last-7-days")
    seen = ana.page.xpath("//table[@id='calls']//a/@href")
    while links := ana.page.xpath("//a[@aria-label='Next page']/@href"):
        await ana.open(links[0])
        seen += ana.page.xpath("//table[@id='calls']//a/@href")

    assert len(seen) == len(set(seen)) == 120


async def test_a_period_is_shown_beside_the_one_before(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana")
    about = await with_key(pool, "ana")
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    days = {1: 300, 2: 100, 3: 50}
    await write_rows(
        pool,
        [
            make_usage_row(midnight - timedelta(hours=24 * day - 12), cost_nano_usd=cost, **about)
            for day, cost in days.items()
        ],
    )
    yesterday = f"{midnight - timedelta(days=1):%Y-%m-%d}"

    await ana.open(f"/usage?period={yesterday}")

    total = ana.rows("groups")[-1]
    assert (nano_usd(total[5]), nano_usd(total[7])) == (300, 100)
    assert total[8] == "+$0.0000002 (+200%)"


async def test_others_see_nothing(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, eve = await new_visitor("ana"), await new_visitor("eve")
    about = await with_key(pool, "ana")
    row = make_usage_row(NOW, **about)
    await write_rows(pool, [row])
    refused = await refuse(pool, about)
    team = await make_team(pool, await users.find_user(pool, ADMIN, "ana@example.org"), name="red")
    paths = (f"/usage/calls/{row.request_id}", f"/refusals/{refused}")
    for path in paths:
        await ana.open(path)
        await eve.open(path, status=404)
    for path in (f"/usage?team={team.id}", f"/usage/calls?team={team.id}", f"/usage?key={about['api_key_id']}"):
        await eve.open(path, status=404)
    for path in ("/usage?user=ana@example.org", "/admin/usage", "/admin/usage/calls", "/admin/refusals"):
        await eve.open(path, status=403)
    for path in ("/usage/files/table.csv", "/admin/usage/files/table.csv", f"/usage/files/days.csv?team={team.id}"):
        answer = await eve.browser.get(path)
        assert about["model_asked"] not in answer.text
    await eve.open("/usage/calls")
    assert "No calls in this period" in eve.text
    await eve.open(f"/refusals?request_id={refused}", status=404)


async def test_members_of_a_team_see_its_sums_and_owners_its_people(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, ben = await new_visitor("ana"), await new_visitor("ben")
    people = {name: await users.find_user(pool, ADMIN, f"{name}@example.org") for name in ("ana", "ben")}
    team = await make_team(pool, people["ben"], name="red")
    await teams.add_member(pool, ADMIN, str(team.id), user="ana@example.org", role="owner")
    await write_rows(
        pool, [make_usage_row(NOW, account_id=team.id, user_id=user.id, cost_nano_usd=5) for user in people.values()]
    )

    for one in (ana, ben):
        await one.open(f"/usage?team={team.id}&period=today")
        assert nano_usd(one.rows("groups")[-1][5]) == 10
    await ana.open(f"/usage?team={team.id}&period=today&by=user")
    assert [row[0] for row in ana.rows("groups")] == ["ana@example.org", "ben@example.org", "Total"]
    await ben.open(f"/usage?team={team.id}&period=today&by=user", status=403)


async def test_texts_of_others_are_text(new_visitor: NewVisitor, pool: Pool) -> None:
    ada = await new_visitor("ada", is_admin=True)
    about = await with_key(pool, "ada")
    row = make_usage_row(NOW, **about | {"model_asked": SCRIPT, "model_served": SCRIPT, "client_request_id": SCRIPT})
    await write_rows(pool, [row])
    refused = await refuse(pool, about, message=SCRIPT)
    await pool.execute("UPDATE models SET name = $1 || id, provider = $1", SCRIPT)
    await pool.execute("UPDATE api_keys SET name = $1", SCRIPT)
    await pool.execute("UPDATE accounts SET name = $1 || id", SCRIPT)

    for path in (
        "/usage", "/admin/usage?by=account", "/usage/calls", "/admin/usage/calls", f"/usage/calls/{row.request_id}",
        "/refusals", "/admin/refusals?by=model", f"/refusals/{refused}",
        f"/usage?zone=UTC&user=&model=&provider=&period=today&first={SCRIPT}",
    ):  # fmt: skip
        page = await ada.open(path)
        assert SCRIPT in page.text_content() or SCRIPT in ada.answer.text.replace("&lt;", "<").replace("&gt;", ">")
        assert not [one for one in page.iter("script") if one.text]


async def test_any_address_has_an_answer(new_visitor: NewVisitor) -> None:
    ana = await new_visitor("ana")

    for query, status in {
        "metric=nonsense&by=nonsense&then_by=nonsense": 200,
        "period=custom&first=2026-13-01": 422,
        "period=custom&first=2026-11-02&last=2026-11-01": 422,
        "zone=Europe/Atlantis": 422,
        "key=nonsense": 404,
        "model=nonsense": 404,
        "period=this-year&metric=latency": 200,
        "metric=refusals": 200,
    }.items():
        await ana.open(f"/usage?{query}", status=status)
    assert ana.path == "/refusals"
