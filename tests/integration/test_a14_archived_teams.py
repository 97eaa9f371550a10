"""Archiving a team: out of the lists, with all it has, and back (case A14)."""

from typing import Any

import httpx2
import pytest
from admin_client import check_error
from browsers import bearer
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, PEPPERS, make_model, make_team, make_token, make_user, owner_of

from admin_api.operations import subscriptions
from admin_api.operations.keys import changes, keys
from admin_api.operations.people import invitations, teams
from admin_api.storage.accounts import Account
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def make_full_team(pool: Pool) -> tuple[Account, User, keys.NewKey]:
    """A team with an owner who has a key in it."""
    ann = await make_user(pool, "ann@example.org")
    team = await make_team(pool, name="red")
    await teams.add_member(pool, ADMIN, "red", user=ann.email, role="owner")
    model = await make_model(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, team="red")
    key = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[model], team="red", user=ann.email))
    return team, ann, key


async def test_a14_an_archived_team_is_in_no_list_and_comes_back_as_it_was(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    _, ann, key = await make_full_team(pool)
    bob = await make_user(pool)
    await invitations.invite(pool, ADMIN, "red", user=bob.email)
    logins: tuple[dict[str, str], ...] = ({}, bearer((await make_token(pool, ann)).secret))

    async def names(**asked: Any) -> list[list[str]]:
        answers = [await admin.get("/api/v1/teams", params=asked, headers=login) for login in logins]
        return [[row["name"] for row in answer.json()["rows"]] for answer in answers]

    before = (await admin.get("/api/v1/teams/red")).json()
    archived = (await admin.post("/api/v1/teams/red/archive")).json()
    again = (await admin.post("/api/v1/teams/red/archive")).json()
    hidden, shown = await names(), await names(archived=True)
    back = (await admin.post("/api/v1/teams/red/unarchive")).json()
    after = (await admin.get("/api/v1/teams/red")).json()

    assert archived["archived_at"] == again["archived_at"] is not None
    assert (hidden, shown) == ([[], []], [["red"], ["red"]])
    assert (back["archived_at"], before, await names()) == (None, after, [["red"], ["red"]])
    assert (await keys.find_key(pool, ADMIN, key.row.id)).revoked_at is None
    assert (await invitations.list_own(pool, owner_of(bob))).rows == []
    rows = await pool.fetch("SELECT action FROM audit_logs WHERE action LIKE 'team.%archive' ORDER BY id")
    assert [row["action"] for row in rows] == ["team.archive", "team.unarchive"]


@pytest.mark.parametrize("who", ["admin", "owner"])
async def test_a14_an_archived_team_does_not_change(pool: Pool, who: str) -> None:
    _, ann, key = await make_full_team(pool)
    bob = await make_user(pool)
    await make_model(pool, "other")
    (subscription,) = (await subscriptions.list_subscriptions(pool, ADMIN, team="red")).rows
    actor = ADMIN if who == "admin" else owner_of(ann)
    await teams.archive_team(pool, ADMIN, "red")

    changing = {
        "rename": teams.update_team(pool, actor, "red", teams.TeamChange(name="blue")),
        "add": teams.add_member(pool, actor, "red", user=bob.email),
        "demote": teams.update_member(pool, actor, "red", user=ann.email, role="member"),
        "leave": teams.remove_member(pool, actor, "red", user=ann.email),
        "invite": invitations.invite(pool, actor, "red", user=bob.email),
        "subscribe": subscriptions.create_subscription(pool, actor, model="other", team="red"),
        "cancel": subscriptions.change_subscription(pool, actor, subscription.id, "cancel"),
        "create": keys.create_key(
            pool, actor, PEPPERS, keys.KeyInput(models=["small"], team="red", user=str(ann.id))
        ),
        "rotate": changes.rotate_key(pool, actor, PEPPERS, key.row.id),
        "update": changes.update_key(pool, actor, key.row.id, changes.KeyChange(name="new")),
    }  # fmt: skip
    refused = {}
    for name, change in changing.items():
        try:
            await change
        except GatewayError as error:
            refused[name] = (error.code, "is archived" in error.message)

    assert refused == dict.fromkeys(changing, ("conflict", True))
    # What takes away access goes on.
    assert (await keys.revoke_key(pool, actor, key.row.id)).revoked_at is not None


async def test_a14_only_admins_archive(admin: httpx2.AsyncClient, pool: Pool) -> None:
    _, ann, _ = await make_full_team(pool)
    login = bearer((await make_token(pool, ann)).secret)

    for move in ("archive", "unarchive"):
        check_error(await admin.post(f"/api/v1/teams/red/{move}", headers=login), 403, "forbidden")


async def test_a14_commands_archive_teams(database: Database, pool: Pool) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    await make_team(pool, name="red")

    done = await command_line.run("teams", "archive", "red")
    listed = [await command_line.run("teams", "list", *more) for more in ((), ("--archived",))]
    back = (await command_line.run("teams", "unarchive", "red", "--json")).json()

    assert done.out.endswith("red is archived.\n")
    assert ["red" in one.out for one in listed] == [False, True]
    assert back["archived_at"] is None
