"""Pages of large teams, and of many: as many statements as those of small ones, not longer, and nothing left out."""

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import pytest
from factories import ADMIN, make_team
from usage_rows import make_usage_row, write_rows

from admin_api.operations.people import teams
from gateway.storage.postgres import BoundedPool, Pool
from portal.conftest import NewVisitor
from portal.test_usage_is_true import nano_usd
from portal.visitors import Visitor

# Of each so many: in a large team members with a limit, invitations, requests to join. Of models that it subscribes to,
# with a limit each, and of teams that one person is in, twice as many.
SEEDS = (
    "INSERT INTO users (email) SELECT w || n || '@example.org' FROM generate_series({first}, {last}) AS n,"
    " unnest(ARRAY['member', 'invited', 'asking']) AS w",
    "INSERT INTO accounts (kind, name, owner_user_id) SELECT 'personal', email, id FROM users"
    " WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.owner_user_id = users.id)",
    "INSERT INTO accounts (kind, name) SELECT 'team', 'team ' || n"
    " FROM generate_series(2 * {first} - 1, 2 * {last}) AS n",
    "INSERT INTO limits (account_id, level, kind, window_kind, amount) SELECT id, 'team', 'cost', w, 1000000000 + id"
    " FROM accounts, unnest(ARRAY['day', 'month']) AS w WHERE kind = 'team' ON CONFLICT DO NOTHING",
    "INSERT INTO team_members (account_id, user_id) SELECT id, {bob} FROM accounts WHERE kind = 'team'"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO team_members (account_id, user_id) SELECT {team}, id FROM users WHERE email LIKE 'member%'"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO limits (account_id, level, user_id, kind, window_kind, amount) SELECT {team}, 'user', user_id, 'cost',"
    " 'month', 1000000000 FROM team_members WHERE account_id = {team} ON CONFLICT DO NOTHING",
    "INSERT INTO models (name) SELECT 'seed-' || n FROM generate_series(2 * {first} - 1, 2 * {last}) AS n",
    "INSERT INTO subscriptions (account_id, model_id, status) SELECT {team}, id, 'active' FROM models"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO limits (account_id, level, subscription_id, kind, window_kind, amount)"
    " SELECT account_id, 'subscription', id, 'tokens', 'month', 9000 + id FROM subscriptions ON CONFLICT DO NOTHING",
    "INSERT INTO team_invitations (account_id, user_id, role, expires_at) SELECT {team}, id, 'member',"
    " now() + interval '1 day' FROM users WHERE email LIKE 'invited%' ON CONFLICT DO NOTHING",
    "INSERT INTO team_join_requests (account_id, user_id, reason) SELECT {team}, id, '' FROM users"
    " WHERE email LIKE 'asking%' ON CONFLICT DO NOTHING",
)
PAGES = {
    "ana": ("/admin", "/admin/teams", "/admin/teams/{team}", "/admin/usage", "/admin/usage?team={team}&by=user"),
    "bob": ("/teams", "/teams/{team}", "/limits", "/home", "/usage", "/usage?team={team}&by=user"),
}
# On each page: what names a row of it, and how many there are.
LISTS = {
    "members": ("//table[@id='members']/tbody/tr/td[1]/div", 30 + 1),
    "join-requests": ("//table[@id='join-requests']/tbody/tr/td[1]/div", 30),
    "invitations": ("//table[@id='invitations']/tbody/tr/td[1]/div", 30),
    "subscriptions": ("//table[@id='subscriptions']/tbody/tr/td[1]/div", 60 + 2),
    "limits": ("//table[@id='limits']/tbody/tr/td[2]/div", 60 + 2 + 2),
}


# What asyncpg asks once a connection about the types of arrays.
OF_THE_DRIVER = ("typeinfo_tree", "set_config('jit'")
IN_PAGE: ContextVar[bool] = ContextVar("in_page", default=False)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of pages; what programs do by themselves is not counted."""
    seen: list[str] = []
    make = BoundedPool.__init__

    async def watch(connection: Any) -> None:
        connection.add_query_logger(lambda record: note(record.query))

    def note(query: str) -> None:
        if IN_PAGE.get() and not any(word in query for word in OF_THE_DRIVER):
            seen.append(query)

    def make_watched(self: BoundedPool, url: str, **settings: Any) -> None:
        make(self, url, **settings, init=watch)

    monkeypatch.setattr(BoundedPool, "__init__", make_watched)
    return seen


async def seed(pool: Pool, first: int, last: int, **about: int) -> None:
    for statement in SEEDS:
        await pool.execute(statement.format(first=first, last=last, **about))
    members = await pool.fetch("SELECT user_id FROM team_members WHERE account_id = $1 ORDER BY user_id", about["team"])
    models = await pool.fetch("SELECT id FROM models ORDER BY id")
    own = await pool.fetch("SELECT id FROM accounts WHERE kind = 'team' ORDER BY id")
    now = datetime.now(UTC)
    called = [
        make_usage_row(now, account_id=about["team"], user_id=one["user_id"], model_id=models[n % len(models)]["id"],
                       cost_nano_usd=n + 1, counted_nano_usd=n + 1)
        for n, one in enumerate(members[-(last - first + 1):])
    ]  # fmt: skip
    called += [
        make_usage_row(now, account_id=one["id"], user_id=about["bob"], cost_nano_usd=n, counted_nano_usd=n)
        for n, one in enumerate(own[-(last - first + 1) :])
    ]
    await write_rows(pool, called)


async def names_of_all(visitor: Visitor, base: str, name: str) -> list[str]:
    """Of a list on the page of a team, from page to page by its own links."""
    path, _ = LISTS[name]
    await visitor.open(base)
    found = [one.text_content().strip() for one in visitor.page.xpath(path)]
    while links := [
        href for href in visitor.page.xpath("//a[@aria-label='Next page']/@href") if href.endswith(f"#{name}")
    ]:
        await visitor.open(links[0])
        found += [one.text_content().strip() for one in visitor.page.xpath(path)]
    return found


async def test_pages_of_large_teams_are_bounded_and_leave_nothing_out(
    statements: list[str], new_visitor: NewVisitor, pool: Pool
) -> None:
    visitors = {"ana": await new_visitor("ana", is_admin=True), "bob": await new_visitor("bob")}
    team = (await make_team(pool, name="large")).id
    await teams.add_member(pool, ADMIN, str(team), user="bob@example.org", role="owner")
    bob = await pool.fetchval("SELECT id FROM users WHERE email = 'bob@example.org'")

    IN_PAGE.set(True)

    async def measure(first: int, last: int) -> dict[str, tuple[int, int]]:
        """Path -> statements, characters."""
        await seed(pool, first, last, team=team, bob=bob)
        measured = {}
        for who, paths in PAGES.items():
            for path in paths:
                for _ in range(2):  # the first seeds counters
                    statements.clear()
                    answer = await visitors[who].browser.get(path.format(team=team), headers={"accept": "text/html"})
                    assert answer.status_code == 200, path
                measured[path] = len(statements), len(answer.text)
        return measured

    few, many = await measure(1, 6), await measure(7, 30)
    for name, (_, number) in LISTS.items():
        names = await names_of_all(visitors["bob"], f"/teams/{team}", name)
        # A limit of the whole team has the team's name for each of its windows.
        assert (len(names), len(set(names))) == (number, number - (name == "limits")), name
    costs = await pool.fetch(
        "SELECT u.email, sum(cost_nano_usd)::bigint AS cost FROM usage_logs l JOIN users u ON u.id = l.user_id"
        " WHERE l.account_id = $1 GROUP BY u.email",
        team,
    )
    shown = {}
    path = f"/admin/teams/{team}"
    while path:
        await visitors["ana"].open(path)
        shown |= {row[0]: nano_usd(row[3]) for row in visitors["ana"].rows("members")}
        path = next((h for h in visitors["ana"].page.xpath("//a/@href") if "?members=" in h), "")
    more = await measure(31, 60)

    assert {path: count for path, (count, _) in many.items()} == {path: count for path, (count, _) in few.items()}
    # A page of a list is as long as another one of it, but for a few more digits.
    grown = {path: (size, more[path][1]) for path, (_, size) in many.items() if more[path][1] > size * 1.05}
    assert grown == {}
    assert {email: cost for email, cost in shown.items() if cost} == {row["email"]: row["cost"] for row in costs}
    assert len(shown) == 31


async def test_the_page_of_a_user_with_many_possessions_is_bounded_and_leaves_nothing_out(
    new_visitor: NewVisitor, pool: Pool
) -> None:
    ana = await new_visitor("ana", is_admin=True)
    await new_visitor("bob")
    bob = await pool.fetchval("SELECT id FROM users WHERE email = 'bob@example.org'")

    async def add(first: int, last: int) -> int:
        """Characters of the page then."""
        await pool.execute(
            "INSERT INTO sessions (user_id, digest, provider, user_agent, expires_at)"
            " SELECT $1, sha256(n::text::bytea), 'oidc', 'browser ' || n, now() + interval '1 day'"
            " FROM generate_series($2::int, $3::int) AS n",
            bob, first, last,
        )  # fmt: skip
        await pool.execute(
            "INSERT INTO personal_tokens (user_id, name, role, digest, pepper_version, last_four, expires_at,"
            " created_by) SELECT $1, 'token ' || n, 'user', sha256(n::text::bytea), 1, 'abcd',"
            " now() + interval '9 days', 'test' FROM generate_series($2::int, $3::int) AS n",
            bob, first, last,
        )  # fmt: skip
        return len((await ana.browser.get(f"/admin/users/{bob}", headers={"accept": "text/html"})).text)

    many = await add(1, 60)
    for name, column, own in (("sessions", 3, 1), ("tokens", 0, 0)):
        found, path = [], f"/admin/users/{bob}"
        while path:
            await ana.open(path)
            found += [row[column] for row in ana.rows(name)]
            path = next((href for href in ana.page.xpath("//a/@href") if href.endswith(f"#{name}") and "?" in href), "")
        assert (len(found), len(set(found))) == (60 + own, 60 + own), name
        (first,) = ana.page.xpath("//a[@aria-label='First page']/@href")
        assert first == f"/admin/users/{bob}#{name}"
    assert await add(61, 120) < many * 1.01
