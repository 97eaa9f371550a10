"""ETag and If-Match: of concurrent changes of the same version one wins; the others fail and change nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
import pytest
from admin_client import check_error, openapi_document
from conftest import Database
from factories import make_key, make_model, make_subscription, make_team, make_user
from fastapi import FastAPI

from admin_api.operations.preconditions import check_version, version_of
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool, new_pool

WRITERS = 8
# POSTs that accept If-Match: they change an existing resource.
MOVES = {
    "/api/v1/subscriptions/{subscription_id}/{move}",
    "/api/v1/users/{user}/anonymise",
    "/api/v1/teams/{team}/archive",
    "/api/v1/teams/{team}/unarchive",
    "/api/v1/api-keys/{key_id}/rotate",
    "/api/v1/api-keys/{key_id}/archive",
    "/api/v1/api-keys/{key_id}/unarchive",
    "/api/v1/webhooks/{webhook_id}/secret",
}
# Changes without an If-Match, and why.
WITHOUT = {
    "PATCH /api/v1/users/me/emails": "each event is a choice by itself; those that are left out stay",
    "PATCH /api/v1/users/{user}/emails": "each event is a choice by itself; those that are left out stay",
    "DELETE /api/auth/sessions": "ends all there are",
    "DELETE /api/auth/sessions/{session_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/me/tokens/{token_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/{user}/tokens/{token_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/{user}/identities/{identity_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/{user}/sessions": "ends all there are",
    "DELETE /api/v1/users/{user}/sessions/{session_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/teams/{team}/invitations/{invitation_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/me/invitations/{invitation_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/users/me/join-requests/{join_request_id}": "there is nothing of it to change but its end",
    "DELETE /api/v1/limit-requests/{limit_request_id}": "there is nothing of it to change but its end",
}


@dataclass(frozen=True)
class Thing:
    """Where a resource is read, and how it is changed: the n-th writer sends `body(n)`."""

    read: str
    body: Callable[[int], dict[str, Any]] = lambda n: {"name": f"writer {n}"}
    method: str = "PATCH"
    write: str = ""
    delete: str = ""
    moves: dict[str, dict[str, Any]] = field(default_factory=dict)


Prepare = Callable[[httpx2.AsyncClient, Pool], Awaitable[Thing]]


async def user(_: httpx2.AsyncClient, pool: Pool) -> Thing:
    path = f"/api/v1/users/{(await make_user(pool)).id}"
    return Thing(path, moves={f"{path}/anonymise": {}})


async def team(_: httpx2.AsyncClient, pool: Pool) -> Thing:
    made = await make_team(pool, await make_user(pool))
    path = f"/api/v1/teams/{made.id}"
    moves: dict[str, dict[str, Any]] = {f"{path}/archive": {}, f"{path}/unarchive": {}}
    return Thing(path, lambda n: {"name": f"{made.name} by {n}"}, moves=moves)


async def member(_: httpx2.AsyncClient, pool: Pool) -> Thing:
    person = await make_user(pool)
    path = f"/api/v1/teams/{(await make_team(pool, person)).id}/members/{person.id}"
    return Thing(path, lambda _: {"role": "owner"}, delete=path)


async def model(_: httpx2.AsyncClient, pool: Pool) -> Thing:
    name = await make_model(pool, "team/small")
    return Thing(f"/api/v1/models/{name}", lambda n: {"description": f"writer {n}"})


async def key(_: httpx2.AsyncClient, pool: Pool) -> Thing:
    path = f"/api/v1/api-keys/{(await make_key(pool)).row.id}"
    return Thing(path, delete=path, moves={f"{path}/rotate": {"grace_s": 0}})


async def limit(admin: httpx2.AsyncClient, pool: Pool) -> Thing:
    fields = {"level": "key", "id": (await make_key(pool)).row.id, "kind": "rpm", "amount": 1000}
    path = f"/api/v1/limits/{(await admin.put('/api/v1/limits', json=fields)).json()['id']}"
    return Thing(path, lambda n: fields | {"amount": n + 1}, "PUT", "/api/v1/limits", delete=path)


async def webhook(admin: httpx2.AsyncClient, _: Pool) -> Thing:
    fields = {"url": "https://hooks.example.com", "events": ["subscription.active"]}
    path = f"/api/v1/webhooks/{(await admin.post('/api/v1/webhooks', json=fields)).json()['id']}"
    moves = {f"{path}/secret": {}}
    return Thing(path, lambda n: {"url": f"https://hooks.example.com/{n}"}, delete=path, moves=moves)


async def settings(_: httpx2.AsyncClient, __: Pool) -> Thing:
    return Thing("/api/v1/admin/settings", lambda n: {"key_maximum_rpm": n + 1}, "PUT")


async def subscription(admin: httpx2.AsyncClient, pool: Pool) -> Thing:
    row = await make_subscription(pool, await make_user(pool), await make_model(pool))
    path = f"/api/v1/subscriptions/{row.id}"
    return Thing(path, lambda n: {"reason": f"writer {n}"}, "POST", f"{path}/suspend", moves={f"{path}/cancel": {}})


async def provider_key(admin: httpx2.AsyncClient, _: Pool) -> Thing:
    path, fields = "/api/v1/admin/provider-keys/OPENAI", {"provider": "openai", "value": "sk-0123456789abcdef"}
    await admin.put(path, json=fields)
    return Thing(path, lambda n: fields | {"provider": f"openai {n}"}, "PUT", delete=path)


ALL = (user, team, member, model, key, limit, webhook, settings, subscription, provider_key)
THINGS: dict[str, Prepare] = {prepare.__name__: prepare for prepare in ALL}
everything = pytest.mark.parametrize("prepare", THINGS.values(), ids=THINGS)


async def write(
    admin: httpx2.AsyncClient, thing: Thing, n: int, tag: str | None, *more: tuple[str, str]
) -> httpx2.Response:
    headers = [*more] if tag is None else [("if-match", tag), *more]
    return await admin.request(thing.method, thing.write or thing.read, json=thing.body(n), headers=headers)


async def count_changes(pool: Pool) -> int:
    """The number of audit rows: one per change."""
    count: int = await pool.fetchval("SELECT count(*) FROM audit_logs")
    return count


def test_every_change_of_a_resource_accepts_if_match() -> None:
    paths = openapi_document()["paths"]
    taking, reported, shown, without = set(), set(), set(), set()
    for path, methods in paths.items():
        for method, about in methods.items():
            route = f"{method.upper()} {path}"
            if any(parameter["name"] == "if-match" for parameter in about.get("parameters", ())):
                taking.add(route)
            elif method in ("patch", "put", "delete"):
                without.add(route)
            if "412" in about["responses"]:
                reported.add(route)
            if method == "get" and "ETag" in about["responses"].get("200", {}).get("headers", {}):
                shown.add(path)

    assert without == set(WITHOUT)
    assert {route.removeprefix("POST ") for route in taking if route.startswith("POST")} == MOVES
    assert taking == reported
    # Whatever can be changed so can be read with its ETag: at its own place, or, a limit, at that of its id.
    changed = {route.split(" ")[1] for route in taking} - MOVES
    assert changed - {"/api/v1/limits"} <= shown


@everything
async def test_a_resource_is_changed_only_at_the_read_version(
    admin: httpx2.AsyncClient, pool: Pool, prepare: Prepare
) -> None:
    thing = await prepare(admin, pool)
    tag = (await admin.get(thing.read)).headers["etag"]
    same = (await admin.get(thing.read)).headers["etag"]

    first = await write(admin, thing, 1, tag)
    now = await admin.get(thing.read)
    changes = await count_changes(pool)
    stale = [await write(admin, thing, 2, wrong) for wrong in (tag, '"0"', f"W/{now.headers['etag']}", f'{tag}, "1"')]
    stale += [
        await admin.request("DELETE" if path == thing.delete else "POST", path, json=body, headers={"if-match": tag})
        for path, body in ({thing.delete: None} if thing.delete else {} | thing.moves).items()
    ]
    after = await admin.get(thing.read)

    assert same == tag
    assert tag.startswith('"')
    assert first.is_success, first.text
    assert first.headers["etag"] == now.headers["etag"] != tag
    for answer in stale:
        check_error(answer, 412, "precondition_failed")
    assert await count_changes(pool) == changes
    assert (after.json(), after.headers["etag"]) == (now.json(), now.headers["etag"])


@everything
async def test_a_change_with_the_current_etag_succeeds(admin: httpx2.AsyncClient, pool: Pool, prepare: Prepare) -> None:
    thing = await prepare(admin, pool)
    forms = ["{}", "*", None, 'W/"x,y", "a,b" ,{}', '"x"']

    for n, form in enumerate(forms):
        tag = (await admin.get(thing.read)).headers["etag"]
        # The last one in two lines.
        more = [("if-match", tag)] if form == '"x"' else []
        answer = await write(admin, thing, n, form and form.replace("{}", tag), *more)

        # What is suspended cannot be suspended once more; that is said only to who has it as it is.
        assert answer.is_success or (n and answer.status_code == 409), (form, answer.text)


@everything
async def test_of_many_concurrent_changes_with_one_etag_exactly_one_wins(
    admin: httpx2.AsyncClient, admin_app: FastAPI, database: Database, pool: Pool, prepare: Prepare
) -> None:
    async with new_pool(database.app_url, size=WRITERS) as wide:
        admin_app.state.pool = wide
        for _ in range(3):
            thing = await prepare(admin, pool)
            tag = (await admin.get(thing.read)).headers["etag"]
            changes = await count_changes(pool)

            answers = await asyncio.gather(*(write(admin, thing, n, tag) for n in range(WRITERS)))

            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [200] + [412] * (WRITERS - 1), [answer.text for answer in answers]
            winner = next(answer for answer in answers if answer.is_success)
            assert (await admin.get(thing.read)).headers["etag"] == winner.headers["etag"]
            assert await count_changes(pool) == changes + 1
            await forget(database)


async def forget(database: Database) -> None:
    """Removes what would block the next round, as the owner of the tables; the audit log cannot be emptied."""
    tables = "provider_keys limits api_key_models api_keys subscription_history subscriptions model_prices models"
    owner = await asyncpg.connect(database.owner_url)
    for table in (*tables.split(), "settings"):
        await owner.execute(f"DELETE FROM {table}")  # noqa: S608
    await owner.close()


async def test_an_invalid_etag_is_a_clear_error(admin: httpx2.AsyncClient, pool: Pool) -> None:
    thing = await user(admin, pool)
    changes = await count_changes(pool)

    for wrong in ("", "abc", "5f3a", '"open', '*, "a"', '"a" "b"', "W/a", "'a'", '"' + "a" * 1000 + '"'):
        answer = await write(admin, thing, 1, wrong)
        check_error(answer, 422, "validation_failed")
        assert "if-match" in answer.text.lower()

    assert await count_changes(pool) == changes


async def test_a_limit_is_not_created_if_an_existing_one_was_expected(admin: httpx2.AsyncClient, pool: Pool) -> None:
    fields = {"level": "key", "id": (await make_key(pool)).row.id, "kind": "rpm", "amount": 5}
    refused = [await admin.put("/api/v1/limits", json=fields, headers={"if-match": tag}) for tag in ("*", '"x"')]
    removed = await admin.put("/api/v1/limits", json=fields | {"amount": "unlimited"}, headers={"if-match": "*"})

    for answer in (*refused, removed):
        check_error(answer, 412, "precondition_failed")
    assert await pool.fetchval("SELECT count(*) FROM limits WHERE kind = 'rpm'") == 0


async def test_deleting_a_resource_that_changed_deletes_nothing(
    admin: httpx2.AsyncClient, database: Database, pool: Pool
) -> None:
    for prepare in (member, key, limit, webhook, provider_key):
        thing = await prepare(admin, pool)
        tag = (await admin.get(thing.read)).headers["etag"]
        changed = await write(admin, thing, 1, None)

        refused = await admin.delete(thing.delete, headers={"if-match": tag})
        there = await admin.get(thing.read)
        done = await admin.delete(thing.delete, headers={"if-match": changed.headers["etag"]})

        check_error(refused, 412, "precondition_failed")
        assert there.headers["etag"] == changed.headers["etag"]
        assert done.is_success
        await forget(database)


async def test_the_etag_covers_everything_that_is_shown(admin: httpx2.AsyncClient, pool: Pool) -> None:
    """Also of what lies in another table: the price of a model, the members of a team."""
    name, person, reds = await make_model(pool), await make_user(pool), await make_team(pool, name="red")
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        f"/api/v1/models/{name}": ("/api/v1/prices", {"model": name, "input_per_million_usd": "0.5"}),
        f"/api/v1/teams/{reds.id}": (f"/api/v1/teams/{reds.id}/members", {"user": person.email}),
    }
    for path, (place, body) in changes.items():
        before = (await admin.get(path)).headers["etag"]
        assert (await admin.post(place, json=body)).is_success
        assert (await admin.get(path)).headers["etag"] != before


@pytest.mark.parametrize("as_of", ['"a"', '"a","b"', ' "a" , "b" ', 'W/"a", "b"', '"a,b", "b"', '"x",, "b"', "*"])
def test_if_match_headers_are_parsed(as_of: str) -> None:
    if as_of != '"a"':
        check_version('"b"', as_of)
    with pytest.raises(GatewayError) as caught:
        check_version(None if as_of == "*" else '"c"', as_of)
    assert caught.value.code == "precondition_failed"


def test_a_weak_etag_never_matches() -> None:
    version = version_of("a thing")
    with pytest.raises(GatewayError, match="changed since"):
        check_version(version, f"W/{version}")
    check_version(version, None)


@pytest.mark.parametrize("rest", [", " * 400 + "x", " " * 800 + "x", " ," * 400 + '"', '"b"', ', "b" "c"'])
def test_a_long_malformed_if_match_is_refused_quickly(rest: str) -> None:
    """A backtracking parser would take exponential time for the first one."""
    with pytest.raises(GatewayError) as caught:
        check_version('"a"', f'"a"{rest}')
    assert caught.value.code == "validation_failed"


def test_many_etags_are_parsed() -> None:
    check_version('"b"', '"a" , ,' * 400 + '"b", ,')
