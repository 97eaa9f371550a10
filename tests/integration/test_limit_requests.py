"""Requests for more of a limit, and to join teams, decided at the same time."""

import asyncio

import pytest
from factories import ADMIN, code_of, make_team, make_user, owner_of

from admin_api.operations.limits.limits import LimitInput, delete_limit, set_limit
from admin_api.operations.limits.parsing import AmountInput
from admin_api.operations.limits.requests import ask_for_more, decide_request, list_requests, withdraw_request
from admin_api.operations.notifications.pending_requests import mail_pending_requests
from admin_api.operations.people import join_requests
from admin_api.storage.users import User
from gateway.storage.postgres import Pool


async def limit_of(pool: Pool, user: User, amount: int = 60) -> int:
    input_ = LimitInput(kind="rpm", amount=amount)
    done = await set_limit(pool, ADMIN, input_, level="user", target=user.email, model=None, team=None)
    return done.limit.id


async def test_of_decisions_at_once_the_first_holds(pool: Pool) -> None:
    ana = await make_user(pool)
    limit = await limit_of(pool, ana)
    made = await ask_for_more(pool, owner_of(ana), limit, amount=AmountInput(amount=99), reason="so")

    attempts = [
        code_of(decide_request(pool, ADMIN, made.request.id, decision, reason="so"))
        for decision in ("approve", "deny", "approve", "deny")
    ]
    codes = await asyncio.gather(*attempts, code_of(withdraw_request(pool, owner_of(ana), made.request.id)))

    assert sorted(codes) == ["conflict"] * 4 + ["done"]
    status = await pool.fetchval("SELECT status FROM limit_requests")
    amount = await pool.fetchval("SELECT amount FROM limits WHERE id = $1", limit)
    assert amount == (99 if status == "approved" else 60)
    decided = "SELECT count(*) FROM audit_logs WHERE action = 'limit.decide_request'"
    assert await pool.fetchval(decided) == 1


async def test_a_limit_that_is_removed_while_it_is_decided(pool: Pool) -> None:
    ana = await make_user(pool)
    limit = await limit_of(pool, ana)
    made = await ask_for_more(pool, owner_of(ana), limit, amount=AmountInput(amount=99), reason="so")

    codes = await asyncio.gather(
        code_of(decide_request(pool, ADMIN, made.request.id, "approve")), code_of(delete_limit(pool, ADMIN, limit))
    )

    assert codes in (["done", "done"], ["not_found", "done"])
    assert (await list_requests(pool, ADMIN)).rows == []
    assert await pool.fetchval("SELECT count(*) FROM limits") == 0


@pytest.mark.parametrize(
    ("amount", "code"),
    [(AmountInput(amount=60), "validation_failed"), (AmountInput(amount="unlimited"), "validation_failed")],
)
async def test_less_is_not_more(pool: Pool, amount: AmountInput, code: str) -> None:
    ana = await make_user(pool)
    limit = await limit_of(pool, ana)

    assert await code_of(ask_for_more(pool, owner_of(ana), limit, amount=amount, reason="so")) == code
    assert await pool.fetchval("SELECT count(*) FROM limit_requests") == 0


async def test_another_amount_is_granted_and_others_limits_are_not_seen(pool: Pool) -> None:
    ana, bob = await make_user(pool), await make_user(pool)
    limit = await limit_of(pool, ana)
    more = {"amount": AmountInput(amount=99), "reason": "so"}
    assert await code_of(ask_for_more(pool, owner_of(bob), limit, **more)) == "not_found"  # type: ignore[arg-type]
    made = await ask_for_more(pool, owner_of(ana), limit, **more)  # type: ignore[arg-type]
    assert await code_of(ask_for_more(pool, owner_of(ana), limit, **more)) == "conflict"  # type: ignore[arg-type]
    assert await code_of(withdraw_request(pool, owner_of(bob), made.request.id)) == "not_found"

    done = await decide_request(pool, ADMIN, made.request.id, "approve", amount=AmountInput(amount=70))

    assert (done.limit.amount, done.request.granted, done.request.status) == (70, 70, "approved")


async def test_admins_hear_of_what_waits_in_one_email(pool: Pool) -> None:
    await make_user(pool, role="admin")
    ana = await make_user(pool)
    limit = await limit_of(pool, ana)
    await ask_for_more(pool, owner_of(ana), limit, amount=AmountInput(amount=99), reason="so")
    await pool.execute("UPDATE limit_requests SET created_at = now() - interval '5 minutes'")

    assert (await mail_pending_requests(pool), await mail_pending_requests(pool)) == (1, 0)
    payload = await pool.fetchval("SELECT payload::text FROM deliveries WHERE event = 'requests.pending'")
    assert f'"limit_id": {limit}' in payload


async def test_of_two_owners_one_answers_and_the_member_is_in_once(pool: Pool) -> None:
    ana = await make_user(pool)
    team = await make_team(pool, name="Red")
    made = await join_requests.ask_to_join(pool, owner_of(ana), team="RED")

    codes = await asyncio.gather(
        *(code_of(join_requests.decide(pool, ADMIN, "Red", made.id, decision)) for decision in ("accept", "decline"))
    )

    assert sorted(codes) == ["done", "not_found"]
    members = await pool.fetchval("SELECT count(*) FROM team_members WHERE account_id = $1", team.id)
    assert members == (1 if codes[0] == "done" else 0)
    assert await pool.fetchval("SELECT count(*) FROM team_join_requests") == 0
