"""Teams for their owners."""

import asyncio
from typing import Any

import pytest
from factories import ADMIN, PEPPERS, READER, code_of, make_team, make_user, owner_of

from admin_api.operations.keys import keys
from admin_api.operations.people import teams
from admin_api.operations.people.teams import TeamChange
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool


async def test_owners_can_change_members_can_see_and_others_see_nothing(pool: Pool) -> None:
    ann, bob, carol, dave = [await make_user(pool) for _ in range(4)]
    team = str((await make_team(pool, bob)).id)
    await make_team(pool)
    await teams.add_member(pool, ADMIN, team, user=ann.email, role="owner")

    done = []
    for actor in (owner_of(dave), owner_of(bob), READER, owner_of(ann)):
        change = teams.update_team(pool, actor, team, TeamChange(name="search"))
        add = teams.add_member(pool, actor, team, user=carol.email)
        rise = teams.update_member(pool, actor, team, user=carol.email, role="owner")
        look = teams.find_team(pool, actor, team)
        suspend = teams.update_team(pool, actor, team, TeamChange(status="suspended"))
        move = teams.update_team(pool, actor, team, TeamChange(time_zone="Asia/Tokyo"))
        done.append([await code_of(attempt) for attempt in (change, add, rise, look, suspend, move)])

    assert done == [
        ["not_found"] * 4 + ["forbidden"] * 2,
        ["forbidden"] * 3 + ["done"] + ["forbidden"] * 2,
        ["forbidden"] * 3 + ["done"] + ["forbidden"] * 2,
        ["done"] * 2 + ["forbidden"] + ["done"] + ["forbidden"] * 2,
    ]
    account, members = await teams.find_team(pool, owner_of(bob), team)
    assert (account.name, account.time_zone, account.status) == ("search", "UTC", "active")
    assert {member.email: member.role for member in members} == {
        ann.email: "owner",
        bob.email: "member",
        carol.email: "member",
    }
    listed = [len((await teams.list_teams(pool, actor)).rows) for actor in (owner_of(bob), owner_of(dave), READER)]
    assert listed == [1, 0, 2]
    await make_team(pool, name="taken")
    assert await code_of(teams.update_team(pool, owner_of(ann), team, TeamChange(name="TAKEN"))) == "conflict"
    assert await code_of(teams.remove_member(pool, owner_of(bob), team, user=bob.email)) == "done"
    assert await code_of(teams.find_team(pool, owner_of(bob), team)) == "not_found"


async def test_an_owner_cannot_get_an_email_address_by_id(pool: Pool) -> None:
    ann, bob = [await make_user(pool) for _ in range(2)]
    team = (await make_team(pool)).name
    await teams.add_member(pool, ADMIN, team, user=ann.email, role="owner")
    asked: dict[str, Any] = {"user": str(bob.id)}

    reported = []
    for attempt in (
        teams.add_member(pool, owner_of(ann), team, **asked),
        teams.update_member(pool, owner_of(ann), team, **asked, role="owner"),
        teams.remove_member(pool, owner_of(ann), team, **asked),
        teams.find_member(pool, owner_of(ann), team, **asked),
        keys.create_key(pool, owner_of(ann), PEPPERS, keys.KeyInput(models=["any"], team=team, **asked)),
    ):
        with pytest.raises(GatewayError) as caught:
            await attempt
        reported.append((caught.value.code, bob.email in caught.value.message))

    assert reported == [("validation_failed", False), *[("not_found", False)] * 3, ("forbidden", False)]
    assert (await teams.add_member(pool, ADMIN, team, **asked)).email == bob.email


async def test_the_last_owner_stays_even_if_two_leave_concurrently(pool: Pool) -> None:
    pair = [await make_user(pool) for _ in range(2)]
    for remove in ("each other", "themselves", "step down"):
        team = (await make_team(pool)).name
        for owner in pair:
            await teams.add_member(pool, ADMIN, team, user=owner.email, role="owner")
        attempts = []
        for one, other in (pair, pair[::-1]):
            if remove == "step down":
                attempts.append(teams.update_member(pool, owner_of(one), team, user=one.email, role="member"))
            else:
                gone = other if remove == "each other" else one
                attempts.append(teams.remove_member(pool, owner_of(one), team, user=gone.email))

        ends = await asyncio.gather(*(code_of(attempt) for attempt in attempts))

        # A member removed in between is no owner any more and cannot even see the team.
        lost = {"conflict"} if remove != "each other" else {"forbidden", "not_found"}
        assert ends.count("done") == 1
        assert set(ends) - {"done"} <= lost
        owners = (
            "SELECT count(*) FROM team_members WHERE role = 'owner' AND account_id = (SELECT max(id) FROM accounts)"
        )
        assert await pool.fetchval(owners) == 1


async def test_an_owner_sees_nobody_outside_their_team(pool: Pool) -> None:
    ann, bob = [await make_user(pool) for _ in range(2)]
    team = await make_team(pool)
    await teams.add_member(pool, ADMIN, team.name, user=ann.email, role="owner")
    owner, words = owner_of(ann), set()

    for user in (str(bob.id), bob.email, "9999999", "nobody@example.org"):
        for attempt in (
            teams.update_member(pool, owner, team.name, user=user, role="owner"),
            teams.remove_member(pool, owner, team.name, user=user),
            teams.find_member(pool, owner, team.name, user=user),
        ):
            with pytest.raises(GatewayError) as caught:
                await attempt
            words.add((caught.value.code, caught.value.message.replace(f"'{user}'", "'…'")))

    assert words == {("not_found", f"There is no '…' in team '{team.name}'.")}


async def test_a_member_is_visible_to_the_team_only(pool: Pool) -> None:
    ann, bob, carol = [await make_user(pool) for _ in range(3)]
    team = await make_team(pool, ann, bob)
    asked = [str(bob.id), bob.email, f" {bob.email.upper()} "]

    shown = [await teams.find_member(pool, owner_of(ann), team.name, user=user) for user in asked]
    words = set()
    for user in (str(carol.id), carol.email, "9999999", "nobody@example.org"):
        with pytest.raises(GatewayError) as caught:
            await teams.find_member(pool, owner_of(ann), team.name, user=user)
        words.add((caught.value.code, caught.value.message.replace(f"'{user}'", "'…'")))
    with pytest.raises(GatewayError, match="no team"):
        await teams.find_member(pool, owner_of(carol), team.name, user=bob.email)

    assert {member.user_id for member in shown} == {bob.id}
    assert words == {("not_found", f"There is no '…' in team '{team.name}'.")}
