"""Invitations to teams: an owner makes nobody an owner without their consent (S14)."""

import asyncio
from typing import Any, Final

import asyncpg
import httpx2
import pytest
from admin_client import check_error
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, code_of, make_team, make_token, make_user, owner_of

from admin_api.operations.actors import Actor
from admin_api.operations.notifications.email_texts import write_email
from admin_api.operations.people import invitations, teams, users
from admin_api.storage.accounts import Account
from admin_api.storage.users import User
from gateway.storage.postgres import Pool

OWN: Final = "/api/v1/users/me/invitations"
TEAM: Final = "/api/v1/teams/red"


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def login(pool: Pool, user: User) -> dict[str, str]:
    return {"authorization": f"Bearer {(await make_token(pool, user)).secret}"}


async def owned_team(pool: Pool, *owners: User) -> Account:
    team = await make_team(pool, name="red")
    for owner in owners:
        await teams.add_member(pool, ADMIN, "red", user=owner.email, role="owner")
    return team


async def expire(database: Database, invitation_id: int) -> None:
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("UPDATE team_invitations SET expires_at = now() WHERE id = $1", invitation_id)
    await connection.close()


async def roles_of(pool: Pool) -> dict[str, str]:
    _, members = await teams.find_team(pool, ADMIN, "red")
    return {member.email: member.role for member in members}


async def test_s14_an_owner_makes_nobody_an_owner(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await owned_team(pool, ann)
    me = await login(pool, ann)
    await admin.post(f"{TEAM}/members", json={"user": carol.email}, headers=me)

    added = await admin.post(f"{TEAM}/members", json={"user": bob.email, "role": "owner"}, headers=me)
    raised = await admin.patch(f"{TEAM}/members/{carol.email}", json={"role": "owner"}, headers=me)

    check_error(added, 403, "forbidden")
    check_error(raised, 403, "forbidden")
    assert "/invitations" in added.json()["error"]["message"]
    assert await roles_of(pool) == {ann.email: "owner", carol.email: "member"}
    # An admin answers for the whole system.
    assert (await admin.post(f"{TEAM}/members", json={"user": bob.email, "role": "owner"})).status_code == 201


@pytest.mark.parametrize("was_member", [False, True])
async def test_s14_who_accepts_is_an_owner_and_who_declines_is_none(
    admin: httpx2.AsyncClient, pool: Pool, *, was_member: bool
) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    team = await owned_team(pool, ann)
    owner, invited = await login(pool, ann), {person.email: await login(pool, person) for person in (bob, carol)}
    if was_member:
        for person in (bob, carol):
            await teams.add_member(pool, owner_of(ann), "red", user=person.email)
    before = await roles_of(pool)

    for person in (bob, carol):
        asked = {"user": person.email, "role": "owner"}
        made = await admin.post(f"{TEAM}/invitations", json=asked, headers=owner)
        (seen,) = (await admin.get(OWN, headers=invited[person.email])).json()["rows"]
        assert (made.status_code, made.json()) == (201, seen)
        assert (seen["team"], seen["team_id"], seen["role"]) == ("red", team.id, "owner")
        assert (seen["email"], seen["invited_by"]) == (person.email, ann.email)
    listed = (await admin.get(f"{TEAM}/invitations", headers=owner)).json()["rows"]
    assert [row["email"] for row in listed] == [bob.email, carol.email]
    assert await roles_of(pool) == before

    accepted = await admin.post(f"{OWN}/{listed[0]['id']}/accept", headers=invited[bob.email])
    declined = await admin.delete(f"{OWN}/{listed[1]['id']}", headers=invited[carol.email])

    assert (accepted.status_code, accepted.json()["role"], declined.status_code) == (200, "owner", 204)
    assert await roles_of(pool) == before | {bob.email: "owner"}
    for person, row in zip((bob, carol), listed, strict=True):
        check_error(await admin.post(f"{OWN}/{row['id']}/accept", headers=invited[person.email]), 404, "not_found")
    actions = [row["action"] for row in await pool.fetch("SELECT action FROM audit_logs WHERE action LIKE '%invit%'")]
    assert sorted(actions) == ["team.accept_invitation", "team.decline_invitation", "team.invite", "team.invite"]


async def test_s14_an_invitation_is_for_the_invited_alone(pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    team = await owned_team(pool, ann)
    await make_team(pool, carol, name="blue")
    await teams.update_member(pool, ADMIN, "blue", user=carol.email, role="owner")
    made = await invitations.invite(pool, owner_of(ann), "red", user=bob.email, role="owner")
    reader = Actor(name=bob.email, role="admin-readonly", user_id=bob.id)

    for actor, code in (
        (owner_of(ann), "not_found"),
        (owner_of(carol), "not_found"),
        (ADMIN, "not_found"),
        (reader, "forbidden"),
    ):
        assert await code_of(invitations.accept(pool, actor, made.id)) == code
        assert await code_of(invitations.decline(pool, actor, made.id)) == code
    for invitation_id in (0, -1, made.id + 1, 2**63):
        assert await code_of(invitations.accept(pool, owner_of(bob), invitation_id)) == "not_found"
    # The owner of another team, with the id of this one's.
    assert await code_of(invitations.withdraw(pool, owner_of(carol), "blue", made.id)) == "not_found"
    assert await code_of(invitations.withdraw(pool, owner_of(carol), "red", made.id)) == "not_found"
    assert await code_of(invitations.list_invitations(pool, owner_of(carol), "red")) == "not_found"
    assert len((await invitations.list_invitations(pool, READER, "red")).rows) == 1
    assert (await invitations.list_own(pool, owner_of(carol))).rows == []
    assert await roles_of(pool) == {ann.email: "owner"}
    assert team.id == made.team_id


async def test_s14_members_invite_nobody(pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await owned_team(pool, ann)
    await teams.add_member(pool, owner_of(ann), "red", user=bob.email)
    made = await invitations.invite(pool, owner_of(ann), "red", user=carol.email)

    for role in ("member", "owner"):
        attempt = invitations.invite(pool, owner_of(bob), "red", user=carol.email, role=role)
        assert await code_of(attempt) == "forbidden"
    assert await code_of(invitations.list_invitations(pool, owner_of(bob), "red")) == "forbidden"
    assert await code_of(invitations.withdraw(pool, owner_of(bob), "red", made.id)) == "forbidden"


@pytest.mark.parametrize("how", ["withdrawn", "expired", "removed", "demoted", "deactivated", "invited was removed"])
async def test_s14_an_invitation_that_is_not_open_makes_nobody_an_owner(
    database: Database, pool: Pool, how: str
) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await owned_team(pool, ann, carol)
    await teams.add_member(pool, ADMIN, "red", user=bob.email)
    made = await invitations.invite(pool, owner_of(ann), "red", user=bob.email, role="owner")
    match how:
        case "withdrawn":
            await invitations.withdraw(pool, owner_of(carol), "red", made.id)
        case "expired":
            await expire(database, made.id)
        case "removed":
            await teams.remove_member(pool, owner_of(carol), "red", user=ann.email)
        case "demoted":
            await teams.update_member(pool, owner_of(carol), "red", user=ann.email, role="member")
        case "deactivated":
            await users.update_user(pool, ADMIN, ann.email, status="deactivated")
        case "invited was removed":
            await teams.remove_member(pool, owner_of(carol), "red", user=bob.email)

    assert await code_of(invitations.accept(pool, owner_of(bob), made.id)) == "not_found"
    assert (await invitations.list_own(pool, owner_of(bob))).rows == []
    assert (await invitations.list_invitations(pool, ADMIN, "red")).rows == []
    assert (await roles_of(pool)).get(bob.email) in ("member", None)
    # Nor does it open again, when who invited is back.
    if how in ("removed", "demoted"):
        if how == "removed":
            await teams.add_member(pool, ADMIN, "red", user=ann.email)
        await teams.update_member(pool, ADMIN, "red", user=ann.email, role="owner")
        assert await code_of(invitations.accept(pool, owner_of(bob), made.id)) == "not_found"
    # Another owner may invite them again.
    again = await invitations.invite(pool, owner_of(carol), "red", user=bob.email, role="owner")
    assert (await invitations.accept(pool, owner_of(bob), again.id)).role == "owner"


async def test_an_owner_who_is_removed_while_somebody_accepts_is_last_or_too_late(pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await owned_team(pool, ann, carol)
    for _ in range(5):
        made = await invitations.invite(pool, owner_of(ann), "red", user=bob.email, role="owner")
        ends = await asyncio.gather(
            code_of(invitations.accept(pool, owner_of(bob), made.id)),
            code_of(teams.remove_member(pool, owner_of(carol), "red", user=ann.email)),
        )
        assert ends[1] == "done"
        assert (bob.email in await roles_of(pool)) == (ends[0] == "done")
        await teams.add_member(pool, ADMIN, "red", user=ann.email, role="owner")
        if ends[0] == "done":
            await teams.remove_member(pool, ADMIN, "red", user=bob.email)


async def test_who_is_asked_twice_is_asked_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob, carol, dave = [await make_user(pool) for _ in range(4)]
    await owned_team(pool, ann)
    await users.update_user(pool, ADMIN, dave.email, status="deactivated")
    asked: dict[str, Any] = {"user": bob.email, "role": "owner"}

    tries = (invitations.invite(pool, owner_of(ann), "red", **asked) for _ in range(4))
    ends = await asyncio.gather(*(code_of(one) for one in tries))

    assert sorted(ends) == ["conflict"] * 3 + ["done"]
    for user, role in ((ann.email, "owner"), (ann.email, "member"), (dave.email, "member")):
        attempt = invitations.invite(pool, owner_of(ann), "red", user=user, role=role)
        assert await code_of(attempt) == "conflict"
    attempt = invitations.invite(pool, owner_of(ann), "red", user=str(carol.id))
    assert await code_of(attempt) == "validation_failed"
    attempt = invitations.invite(pool, owner_of(ann), "red", user="nobody@example.org")
    assert await code_of(attempt) == "not_found"
    monkeypatch.setattr(invitations, "MAX_OPEN", 1)
    attempt = invitations.invite(pool, owner_of(ann), "red", user=carol.email)
    assert await code_of(attempt) == "conflict"


async def test_the_invited_get_an_email_and_nobody_else(pool: Pool) -> None:
    ann, bob = [await make_user(pool) for _ in range(2)]
    await owned_team(pool, ann)
    await invitations.invite(pool, owner_of(ann), "red", user=bob.email, role="owner")

    (row,) = await pool.fetch("SELECT channel, user_id, event, payload FROM deliveries")

    assert (row["channel"], row["user_id"], row["event"]) == ("email", bob.id, "team.invited")


@pytest.mark.parametrize("role", ["owner", "member"])
@pytest.mark.parametrize(("locale", "word"), [("en", "invites"), ("es", "invita"), ("fr", "invite")])
def test_an_invitation_is_written_in_the_language_of_the_invited(role: str, locale: str, word: str) -> None:
    about = {"team": "red\nteam", "role": role, "by": "ann@example.org", "expires_at": "2027-01-31T12:00:00+00:00"}

    subject, text = write_email("team.invited", about, locale)

    assert "red team" in subject
    assert "\n" not in subject
    assert word in text
    assert "ann@example.org" in text
    assert "2027-01-31 12:00 (UTC)" in text


async def test_expired_invitations_are_deleted(database: Database, pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    await owned_team(pool, ann)
    old = await invitations.invite(pool, owner_of(ann), "red", user=bob.email)
    await invitations.invite(pool, owner_of(ann), "red", user=carol.email)
    await expire(database, old.id)

    await invitations.delete_expired(pool)

    assert [row["user_id"] for row in await pool.fetch("SELECT user_id FROM team_invitations")] == [carol.id]


async def test_the_command_line_invites_lists_and_withdraws(command_line: CommandLine, pool: Pool) -> None:
    ann, bob = [await make_user(pool) for _ in range(2)]
    await make_team(pool, name="red")

    made = (await command_line.run("teams", "invite", "red", "--user", ann.email, "--role", "owner", "--json")).json()
    await command_line.run("teams", "invite", "red", "--user", bob.email)
    withdrawn = await command_line.run("teams", "withdraw", "red", str(made["id"]))
    listed = (await command_line.run("teams", "invitations", "red", "--json")).json()["rows"]
    accepted = await invitations.accept(pool, owner_of(bob), listed[0]["id"])

    assert (made["email"], made["role"], made["invited_by"]) == (ann.email, "owner", None)
    assert withdrawn.out == f"Invitation {made['id']} is withdrawn.\n"
    assert [(row["email"], row["role"]) for row in listed] == [(bob.email, "member")]
    assert accepted.role == "member"
