"""Teams in the browser: an admin makes one, its owner runs it, others ask to join; and who may not."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from factories import ADMIN, make_team
from usage_rows import make_usage_row, write_rows

from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.limits.team_uses import list_team_uses
from admin_api.operations.people import teams, users
from admin_api.operations.people.new_accounts import NewTeam, set_up_team
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, NewVisitor

NANO_USD = 10**9


async def members_of(pool: Pool, team: int) -> dict[str, str]:
    rows = await pool.fetch(
        "SELECT u.email, m.role FROM team_members m JOIN users u ON u.id = m.user_id WHERE m.account_id = $1", team
    )
    return {row["email"].partition("@")[0]: row["role"] for row in rows}


async def audited(pool: Pool) -> list[str]:
    return [row["action"] for row in await pool.fetch("SELECT action FROM audit_logs ORDER BY id")]


async def test_an_admin_makes_a_team_and_its_owner_runs_it(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, bob, carol = [await new_visitor(name) for name in ("ana", "bob", "carol")]
    await users.update_user(pool, ADMIN, "ana@example.org", role="admin")

    await ana.open("/admin/teams")
    assert "No teams yet" in ana.text
    await ana.open("/admin/teams/new")
    await ana.submit("/admin/teams/new", status=422, name="Red", owner="nobody@example.org", monthly_cost_usd="much")
    assert ana.page.get_element_by_id("name").get("value") == "Red"
    assert await pool.fetchval("SELECT count(*) FROM accounts WHERE kind = 'team'") == 0
    await ana.submit("/admin/teams/new", name="Red", owner="bob@example.org", monthly_cost_usd="250.00")
    base = ana.path.removeprefix("/admin")
    team = int(base.rsplit("/", 1)[1])
    assert ana.rows("limits")[0][:2] == ["Cost per month", "Team Red"]
    assert ana.rows("limits")[0][4:6] == ["$250.00", "$250.00"]

    await bob.open("/teams")
    assert [row[:2] for row in bob.rows("teams")] == [["Red", "owner"]]
    await bob.open(f"{base}/invite")
    await bob.submit(f"{base}/invite", status=409, user="bob@example.org")
    assert "already owner" in bob.text
    await bob.submit(f"{base}/invite", user="carol@example.org")
    assert [row[0] for row in bob.rows("invitations")] == ["carol@example.org"]

    await carol.open(base, status=404)
    await carol.open("/home")
    assert "You are invited to team Red." in carol.text
    await carol.open("/teams")
    await carol.submit("/teams/invitations/1/accept")
    assert (carol.path, await members_of(pool, team)) == (base, {"bob": "owner", "carol": "member"})
    assert f"{base}/remove" not in carol.actions()
    await carol.open(f"{base}/invite", status=404)

    await bob.open(f"{base}/subscribe")
    await bob.submit(f"{base}/subscribe", model=OPEN)
    assert [row[:2] for row in bob.rows("subscriptions")] == [[OPEN, "active"]]
    await carol.open(f"/api-keys/new?team={team}")
    await carol.submit("/api-keys", name="in the team")
    key = await pool.fetchrow("SELECT account_id, user_id IS NOT NULL AS is_own, revoked_at FROM api_keys")
    assert key is not None
    assert tuple(key) == (team, True, None)

    await bob.open(base)
    await bob.submit(f"{base}/remove", user="carol@example.org")
    assert await members_of(pool, team) == {"bob": "owner"}
    assert await pool.fetchval("SELECT revoked_at IS NOT NULL FROM api_keys")
    await bob.submit(f"{base}/leave", status=409)
    assert "last owner" in bob.text

    await ana.open(f"/admin{base}")
    await ana.submit(f"/admin{base}/archive")
    assert await pool.fetchval("SELECT archived_at IS NOT NULL FROM accounts WHERE id = $1", team)
    assert "This team is archived" in ana.text
    await ana.submit(f"/admin{base}/unarchive")
    assert not await pool.fetchval("SELECT archived_at IS NOT NULL FROM accounts WHERE id = $1", team)
    acts = await audited(pool)
    assert [act for act in acts if act in ("team.remove_member", "team.archive", "team.unarchive")] == [
        "team.remove_member", "team.archive", "team.unarchive"
    ]  # fmt: skip


async def test_others_ask_to_join_and_an_owner_decides(new_visitor: NewVisitor, pool: Pool) -> None:
    bob, carol, dora = [await new_visitor(name) for name in ("bob", "carol", "dora")]
    made = await set_up_team(pool, ADMIN, NewTeam(name="Red", owners=["bob@example.org"]))
    base = f"/teams/{made.team.id}"

    await carol.open("/teams")
    assert "You are in no team" in carol.text
    await carol.submit("/teams", status=422, team="Blue", reason="please")
    help_id = carol.page.get_element_by_id("team").get("aria-describedby")
    assert "There is no team 'Blue'." in carol.page.get_element_by_id(help_id).text_content()
    await carol.submit("/teams", team="red", reason="<b>I work there</b>")
    assert [row[:2] for row in carol.rows("join-requests")] == [["Red", "<b>I work there</b>"]]
    await carol.submit("/teams", status=409, team="Red")
    assert "already" in carol.text
    await dora.open("/teams")
    await dora.submit("/teams", team="Red")

    await bob.open(base)
    assert [(row[0], row[2]) for row in bob.rows("join-requests")] == [
        ("carol@example.org", "<b>I work there</b>"), ("dora@example.org", "–")
    ]  # fmt: skip
    ids = {row["email"]: row["id"] for row in await pool.fetch(
        "SELECT r.id, u.email FROM team_join_requests r JOIN users u ON u.id = r.user_id"
    )}  # fmt: skip
    await bob.submit(f"{base}/accept", request=str(ids["carol@example.org"]))
    await bob.submit(f"{base}/decline", request=str(ids["dora@example.org"]))
    again = await bob.post(f"{base}/accept", request=str(ids["dora@example.org"]))
    assert again.status_code == 404

    assert await members_of(pool, made.team.id) == {"bob": "owner", "carol": "member"}
    assert await pool.fetchval("SELECT count(*) FROM team_join_requests") == 0
    sent = await pool.fetch(
        "SELECT u.email, d.event, d.payload ->> 'status' AS status FROM deliveries d JOIN users u ON u.id = d.user_id "
        "WHERE d.event LIKE 'team.join%' ORDER BY d.id"
    )
    assert [tuple(row) for row in sent] == [
        ("bob@example.org", "team.join_requested", None),
        ("bob@example.org", "team.join_requested", None),
        ("carol@example.org", "team.join_decided", "accepted"),
        ("dora@example.org", "team.join_decided", "declined"),
    ]
    acts = [act for act in await audited(pool) if "join" in act]
    assert acts == ["team.ask_to_join"] * 2 + ["team.accept_join_request", "team.decline_join_request"]


async def test_figures_of_teams_are_those_of_the_ledger(new_visitor: NewVisitor, pool: Pool) -> None:
    """The list, the page of a team and its members' shares, to the nano-USD."""
    bob = await new_visitor("bob")
    ana = await new_visitor("ana", is_admin=True)
    person = await pool.fetchrow("SELECT id FROM users WHERE email = 'bob@example.org'")
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    assert person is not None
    made: dict[str, Any] = {}
    for name, budget, costs in (
        ("Calm", 100, (1, 7)),
        ("Tight", 2, (999_999_999, 1_000_000_000)),
        ("Free", None, (5,)),
    ):
        nano = None if budget is None else budget * NANO_USD
        new = NewTeam(name=name, owners=["bob@example.org"], monthly_cost_nano_usd=nano)
        made[name] = (await set_up_team(pool, ADMIN, new)).team
        about = {"account_id": made[name].id, "user_id": person["id"], "model_id": model_id}
        rows = [make_usage_row(datetime.now(UTC), **about, cost_nano_usd=cost, counted_nano_usd=cost) for cost in costs]
        await write_rows(pool, rows)
    share = LimitInput(kind="cost", window="month", amount=NANO_USD)
    where = {"level": "user", "target": "bob@example.org", "team": "Calm", "model": None}
    await set_limit(pool, ADMIN, share, **where)  # type: ignore[arg-type]

    await ana.open("/admin/teams")
    listed = ana.rows("teams")
    await bob.open(f"/teams/{made['Calm'].id}")

    assert [row[0] for row in listed] == ["Tight", "Calm", "Free"]
    assert listed[0][3:] == ["Cost per month: $2.00", "$1.999999999", "$0.000000001", "99%"]
    assert listed[2][3] == "unlimited"
    uses = {use.team.name: use for use in (await list_team_uses(pool, ADMIN)).rows}
    for name, team in made.items():
        in_sql = await pool.fetchval("SELECT sum(cost_nano_usd) FROM usage_logs WHERE account_id = $1", team.id)
        tightest = uses[name].tightest
        assert tightest is None if name == "Free" else tightest is not None and tightest.used == in_sql
    assert bob.page.get_element_by_id("team-cost").text_content() == "$0.000000008"
    assert bob.rows("limits")[0][2:6] == ["$0.000000008", "$0.00", "$99.999999992", "$100.00"]
    (member,) = bob.rows("members")
    assert member[3:6] == ["$0.000000008", "Cost per month: $1.00", "$0.999999992"]
    assert Decimal("0.000000008") * NANO_USD == 8


@pytest.mark.parametrize("role", ["user", "admin-readonly"])
async def test_who_may_not_change_teams_cannot(new_visitor: NewVisitor, pool: Pool, role: str) -> None:
    ana = await new_visitor("ana")
    if role != "user":
        await users.update_user(pool, ADMIN, "ana@example.org", role=role)
    team = (await make_team(pool, name="Red")).id
    forms = ("members", "invite", "role", "remove", "update", "archive", "limit", "unlimit", "accept")

    await ana.open(f"/teams/{team}", status=404 if role == "user" else 200)
    if role == "user":
        for path in ("/admin/teams", f"/admin/teams/{team}", "/admin/teams/new", "/admin/limits", "/admin/limits/bulk"):
            await ana.open(path, status=403)
    else:
        await ana.open(f"/admin/teams/{team}")
        assert not [action for action in ana.actions() if action.startswith("/admin/teams")]
        await ana.open("/admin/teams/new", status=403)
    before = await pool.fetchval("SELECT count(*) FROM audit_logs")
    await ana.open("/home")
    for base in (f"/teams/{team}", f"/admin/teams/{team}"):
        for form in forms:
            fields = {"user": "ana@example.org", "role": "owner", "name": "Mine", "kind": "rpm:", "amount": "5"}
            fields |= {"limit": "1", "request": "1", "invitation": "1"}
            answer = await ana.post(f"{base}/{form}", **fields)
            assert answer.status_code in (403, 404), (base, form, answer.status_code)
    foreign = await ana.post(f"/teams/{team}/update", csrf_token="x", name="Mine")
    assert foreign.status_code == 403

    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == before
    assert await pool.fetchval("SELECT name FROM accounts WHERE id = $1", team) == "Red"


async def test_names_of_others_are_text(new_visitor: NewVisitor, pool: Pool) -> None:
    script = "<script>alert(1)</script>"
    ana = await new_visitor("ana", is_admin=True)
    team = (await set_up_team(pool, ADMIN, NewTeam(name=script, owners=["ana@example.org"], models=[OPEN]))).team
    limit = LimitInput(kind="rpm", amount=5, reason=script)
    await set_limit(pool, ADMIN, limit, level="team", target=str(team.id), model=None, team=None)
    await teams.update_team(pool, ADMIN, str(team.id), teams.TeamChange(status="suspended", reason=script))
    await pool.execute("UPDATE users SET name = $1", script)

    for path in (
        "/teams",
        f"/teams/{team.id}",
        "/admin/teams",
        f"/admin/teams/{team.id}/limit",
        "/limits",
        "/admin/limits",
    ):
        page = await ana.open(path)
        assert script in page.text_content(), path
        assert not [one for one in page.iter("script") if one.text], path
