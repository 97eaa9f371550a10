"""Realtime sessions: admission, permitted events, and the end of a session that lost access."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from callers import Caller, MakeCaller
from factories import ADMIN
from gateways import GatewayThread, Ledger, RedisState, StartGateway, UnhandledErrors, scraped_metrics, wait_until
from realtime_sessions import MODEL, open_realtime

from admin_api.operations.keys import keys
from admin_api.operations.people import users
from deploy.embedded.processes import free_port
from gateway.domain.keys import new_key
from gateway.realtime.session import CHECK_S

OTHER = "sk-lm-" + "0" * 49


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(MODEL, "demo-chat")


async def refused(caller: Caller, query: str = f"model={MODEL}", **options: Any) -> tuple[int, str, dict[str, str]]:
    """Status, code and headers of a refused upgrade."""
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    headers = options.pop("headers", caller.authorization) | upgrade
    path = options.pop("path", "/v1/realtime")
    async with caller.http.get(f"{caller.url}{path}?{query}", headers=headers, **options) as answer:
        assert answer.content_type == "application/json"
        error = (await answer.json())["error"]
        assert set(error) >= {"message", "type", "param", "code", "request_id"}
        assert answer.headers["x-request-id"] == error["request_id"]
        return answer.status, error["code"], {name.lower(): value for name, value in answer.headers.items()}


# --- Before the upgrade ---


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({"authorization": f"Bearer {OTHER}"}, 401, "invalid_api_key"),
        ({"authorization": "Basic eDp5"}, 401, "invalid_api_key"),
        ({"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{OTHER}"}, 401, "invalid_api_key"),
        ({"x-goog-api-key": "sk-x", "x-litellm-api-key": "sk-the-key-of-litellm"}, 401, "missing_api_key"),
    ],
)
async def test_a_caller_without_a_key_is_refused_before_the_upgrade(
    headers: dict[str, str], status: int, code: str, caller: Caller
) -> None:
    assert (await refused(caller, headers=headers))[:2] == (status, code)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_request"),
        ("model=", 400, "invalid_request"),
        ("model=nothing", 404, "model_not_found"),
        ("model=demo-realtime%00", 404, "model_not_found"),
        ("model=openai/demo-realtime", 404, "model_not_found"),
        ("model=DEMO-REALTIME", 404, "model_not_found"),
        ("model=refused-realtime", 404, "model_not_found"),  # it exists, but not for this key
        ("model=demo-chat", 404, "model_not_found"),  # a model of this key, but for another endpoint
        ("model=demo-realtime,demo-chat", 400, "invalid_request"),
        ("model=demo-realtime&model=demo-realtime", 400, "model_in_query"),
        ("model=demo-realtime&%6dodel=demo-chat", 400, "model_in_query"),
        ("model=demo-realtime&intent=transcription", 400, "parameter_not_allowed"),
        ("model=demo-realtime&guardrails=none", 400, "parameter_not_allowed"),
        ("model=%ff", 400, "invalid_request"),
    ],
)
async def test_a_model_that_is_no_realtime_model_of_the_key_is_refused(
    query: str, status: int, code: str, caller: Caller, redis_state: RedisState
) -> None:
    assert (await refused(caller, query))[:2] == (status, code)
    assert await redis_state.open_leases(caller.account_id) == []


async def test_limits_refuse_a_session_as_on_every_route(caller: Caller, redis_state: RedisState) -> None:
    await caller.limit("rpm", 1)
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")

    status, code, headers = await refused(caller)

    assert (status, code) == (429, "rate_limit_exceeded")
    assert int(headers["retry-after"]) > 0
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert await redis_state.open_leases(caller.account_id) == []


@pytest.mark.parametrize("kind", ["tokens", "cost"])
async def test_a_spent_window_refuses_a_session(kind: str, caller: Caller) -> None:
    await caller.limit(kind, 0, window="day")

    status, code, headers = await refused(caller)

    assert (status, code, headers["x-should-retry"]) == (429, "insufficient_quota", "false")


async def test_a_session_holds_its_slot(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("concurrency", 1)
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")
        assert (await refused(caller))[:2] == (429, "rate_limit_exceeded")
    await ledger.row(caller.account_id)

    async with open_realtime(caller) as session:
        await session.receive_until("session.created")


async def test_an_unreachable_or_failing_upstream_refuses_the_upgrade(
    make: MakeCaller, caller: Caller, start_gateway: StartGateway, ledger: Ledger, redis_state: RedisState
) -> None:
    nobody = caller.at(start_gateway(litellm_urls=f"http://127.0.0.1:{free_port()}").url)
    assert (await refused(nobody))[:2] == (503, "upstream_unavailable")
    refusing = await make("refused-realtime")
    assert (await refused(refusing, "model=refused-realtime"))[:2] == (502, "upstream_error")

    for who, ending, status in ((nobody, "unreachable", 503), (refusing, "refused_upstream", 502)):
        row = await ledger.row(who.account_id)
        assert (row["ending"], row["status"], row["counted_requests"]) == (ending, status, 0)
        await redis_state.wait_until_settled(who.account_id)


async def test_redis_and_allowed_addresses_are_checked_before_the_upgrade(
    caller: Caller, gateway: GatewayThread, start_gateway: StartGateway
) -> None:
    without_redis = caller.at(start_gateway(redis_url=f"redis://127.0.0.1:{free_port()}").url)
    assert (await refused(without_redis))[:2] == (503, "limits_unavailable")

    await caller.pool.execute("UPDATE api_keys SET allowed_ips = '{192.0.2.0/24}' WHERE id = $1", caller.key_id)
    await gateway.wait_for_changes(caller.pool)
    forged = caller.authorization | {
        "x-forwarded-for": "192.0.2.1",
        "x-real-ip": "192.0.2.1",
        "forwarded": "for=192.0.2.1",
    }
    assert (await refused(caller, headers=forged))[:2] == (403, "ip_not_allowed")
    behind = caller.at(start_gateway(trusted_proxies="127.0.0.1").url)
    async with open_realtime(
        behind, headers=caller.authorization | {"x-forwarded-for": "9.9.9.9, 192.0.2.1"}
    ) as session:
        await session.receive_until("session.created")
    headers = caller.authorization | {"x-forwarded-for": "192.0.2.1, 9.9.9.9"}
    assert (await refused(behind, headers=headers))[:2] == (403, "ip_not_allowed")


async def test_only_the_realtime_path_has_a_websocket_and_nothing_else(caller: Caller) -> None:
    for path in ("/openai/deployments/demo-realtime/realtime", "/v1/realtime/", "/vertex_ai/live", "/health/live"):
        assert (await refused(caller, path=path))[:2] == (404, "not_found")
    response = await caller.get("/v1/realtime?model=demo-realtime")
    assert (response.status, response.code, response.headers["upgrade"]) == (426, "upgrade_required", "websocket")


async def test_d7_a_websocket_on_a_route_that_takes_post_is_sent_back_to_http(caller: Caller) -> None:
    def errors() -> list[str]:
        return [line for line in scraped_metrics().splitlines() if line.startswith("litemaas_errors_total{")]

    before = errors()
    for path in ("/v1/responses", "/responses", "/v1/chat/completions", "/v1/embeddings"):
        status, code, headers = await refused(caller, path=path)
        assert (status, code, headers["upgrade"]) == (426, "upgrade_required", "HTTP/1.1")
    assert errors() == before
    assert (await refused(caller, path="/v1/nowhere"))[:2] == (404, "not_found")
    assert errors() != before


async def test_a_key_sent_as_a_subprotocol_is_not_sent_back(caller: Caller) -> None:
    offered = (f"openai-insecure-api-key.{caller.key}", "realtime", "openai-beta.realtime-v1")

    async with open_realtime(caller, headers={"origin": "https://app.example.com"}, protocols=offered) as session:
        assert session.socket.protocol == "realtime"
        await session.receive_until("session.created")

    for wrong in ("nonsense", f"openai-insecure-api-key.{caller.key}"):
        assert (await refused(caller, headers={"sec-websocket-protocol": wrong}))[:2] == (400, "invalid_request")
    two = caller.authorization | {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{new_key()}"}
    assert (await refused(caller, headers=two))[:2] == (401, "conflicting_api_keys")


async def test_the_upgrade_response_has_request_id_and_limit_headers(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("tpm", 1000)

    async with open_realtime(caller, path="/realtime") as session:
        headers = session.socket._response.headers
        await session.receive_until("session.created")

    assert headers["x-ratelimit-limit-tokens"] == "1000"
    assert headers["x-request-id"] == str((await ledger.row(caller.account_id))["request_id"])


# --- Permitted events ---


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "session.update", "session": {"model": "demo-chat"}}, "parameter_not_allowed"),
        ({"type": "session.update", "session": {"api_base": "http://127.0.0.1"}}, "parameter_not_allowed"),
        ({"type": "session.update", "session": {"tools": [{"type": "mcp"}]}}, "parameter_not_allowed"),
        ({"type": "session.update", "session": {"input_audio_transcription": {"model": "x"}}}, "model_not_found"),
        (
            {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "x"}}}}},
            "model_not_found",
        ),
        ({"type": "transcription_session.update", "session": {"model": "demo-chat"}}, "parameter_not_allowed"),
        ({"type": "response.create", "response": {"model": "demo-chat"}}, "parameter_not_allowed"),
        ({"type": "response.create", "response": {"fallbacks": ["demo-chat"]}}, "parameter_not_allowed"),
        ({"type": "response.create", "response": 3}, "invalid_request"),
        ({"type": 3}, "invalid_request"),
        ({}, "invalid_request"),
    ],
)
async def test_a_forbidden_event_is_refused_and_the_session_continues(
    event: dict[str, Any], code: str, caller: Caller
) -> None:
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")
        await session.socket.send_json(event | {"event_id": "mine"})

        event = await session.receive()

        assert event is not None
        assert (event["type"], event["error"]["code"], event["error"]["event_id"]) == ("error", code, "mine")
        assert (await session.ask("Hello [tokens=2]"))["response"]["status"] == "completed"


async def test_a_permitted_event_passes_unchanged(caller: Caller) -> None:
    config = {
        "type": "realtime", "model": MODEL, "instructions": "Be kind.", "output_modalities": ["text"],
        "audio": {"input": {"transcription": {"model": "demo-chat"}, "turn_detection": None}, "output": {"voice": "x"}},
        "tools": [{"type": "function", "name": "f", "parameters": {"model": "x"}}], "tool_choice": "auto",
        "max_output_tokens": "inf", "metadata": {"mine": "x"}, "truncation": "auto", "tracing": None, "include": [],
        "temperature": 0.8,
    }  # fmt: skip

    async with open_realtime(caller) as session:
        await session.send("session.update", session=config)
        updated = (await session.receive_until("session.updated", "error"))["session"]

    assert {name: updated[name] for name in config} == config


@pytest.mark.parametrize(
    "text", ["not json", "[]", '"text"', '{"type":"a"', "", "[" * 3000, '{"type":"x","a":1e999}', '{"a":' * 200 + "1"]
)
async def test_an_invalid_event_is_refused_and_the_session_continues(text: str, caller: Caller) -> None:
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")
        await session.socket.send_str(text)

        event = await session.receive()

        assert event is not None
        assert event["error"]["code"] in ("invalid_json", "invalid_request")
        assert (await session.ask("Hello [tokens=2]"))["response"]["status"] == "completed"


async def test_a_repeated_json_key_is_forwarded_as_it_was_checked(caller: Caller) -> None:
    async with open_realtime(caller) as session:
        await session.socket.send_str(
            '{"type":"session.update","session":{"model":"demo-chat","model":"demo-realtime"}}'
        )
        assert (await session.receive_until("session.updated", "error"))["session"]["model"] == MODEL
        await session.socket.send_str(
            '{"type":"session.update","session":{"model":"demo-realtime","model":"demo-chat"}}'
        )
        assert (await session.receive_until("session.updated", "error"))["type"] == "error"


# --- Lost access ---


async def _revoke(caller: Caller) -> None:
    await keys.revoke_key(caller.pool, ADMIN, caller.key_id)


async def _suspend(caller: Caller) -> None:
    await users.update_user(caller.pool, ADMIN, caller.email, status="deactivated")


async def _move(caller: Caller) -> None:
    await caller.pool.execute("UPDATE api_keys SET allowed_ips = '{192.0.2.0/24}' WHERE id = $1", caller.key_id)


async def _unsubscribe(caller: Caller) -> None:
    sql = """UPDATE subscriptions SET status = 'suspended' WHERE account_id = $1
        AND model_id = (SELECT id FROM models WHERE name = $2)"""
    await caller.pool.execute(sql, caller.account_id, MODEL)


async def _expire(caller: Caller) -> None:
    await caller.pool.execute("UPDATE api_keys SET expires_at = now() + interval '0.1 s' WHERE id = $1", caller.key_id)


@pytest.mark.parametrize(
    ("take_away", "code"),
    [
        (_revoke, "invalid_api_key"),
        (_expire, "api_key_expired"),
        (_suspend, "account_suspended"),
        (_move, "ip_not_allowed"),
        (_unsubscribe, "subscription_suspended"),
    ],
)
async def test_a_session_ends_within_a_second_after_its_caller_loses_access(
    take_away: Callable[[Caller], Awaitable[None]], code: str, caller: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    async with open_realtime(caller) as session:
        done = await session.ask("Hello [tokens=4]")
        await take_away(caller)
        began = time.monotonic()
        *_, last = await session.receive_all()
        took = time.monotonic() - began

    assert (last["type"], last["error"]["code"], session.close_code) == ("error", code, 1008)
    assert took < 1 if code != "api_key_expired" else took < 1.1
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"], row["estimated"]) == ("completed", code, False)
    assert row["counted_tokens"] == done["response"]["usage"]["total_tokens"]
    await redis_state.wait_until_settled(caller.account_id)


async def test_a_response_in_progress_is_cut_when_the_key_is_revoked(caller: Caller, ledger: Ledger) -> None:
    async with open_realtime(caller) as session:
        await session.send_text("Go on [tokens=500] [rate=50]")
        await session.send("response.create")
        await session.receive_until("response.output_text.delta")
        await _revoke(caller)
        *events, last = await session.receive_all()

    assert (last["error"]["code"], session.close_code) == ("invalid_api_key", 1008)
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["estimated_why"]) == ("completed", "cut_off")
    assert len(events) <= row["completion_tokens"] < 3 * (len(events) + 2)


@pytest.mark.parametrize(("kind", "amount"), [("tokens", 50), ("cost", 100_000)])
async def test_a_spent_window_ends_the_session(
    kind: str, amount: int, caller: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    await caller.limit(kind, amount, window="day")

    async with open_realtime(caller) as session:
        done = await session.ask("Hello [tokens=60]")
        *_, last = await session.receive_all()

    assert (last["error"]["code"], session.close_code) == ("insufficient_quota", 1008)
    assert last["error"]["limit"]["kind"] == kind
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"]) == ("completed", "insufficient_quota")
    # One admitted response exceeds the limit, and no other.
    assert row["counted_tokens"] == done["response"]["usage"]["total_tokens"]
    await redis_state.wait_until_settled(caller.account_id)
    assert (await refused(caller))[:2] == (429, "insufficient_quota")


async def test_a_limit_set_during_a_session_holds_for_its_next_response(caller: Caller, gateway: GatewayThread) -> None:
    async with open_realtime(caller) as session:
        await session.ask("Hello [tokens=60]")
        await caller.limit("tokens", 0, window="day")
        await gateway.wait_for_changes(caller.pool)
        # The session checks again by itself.
        await asyncio.sleep(3 * CHECK_S)
        await session.send("response.create")
        *_, last = await session.receive_all()

    assert (last["error"]["code"], session.close_code) == ("insufficient_quota", 1008)


async def test_a_bucket_in_debt_refuses_a_response_and_not_the_session(caller: Caller, ledger: Ledger) -> None:
    # 600 a minute: 10 a second.
    await caller.limit("tpm", 600)

    async with open_realtime(caller) as session:
        await session.ask("Hello [tokens=604]")
        await session.send("response.create", event_id="too early")
        error = (await session.receive_until("error", "response.done"))["error"]
        assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "too early")
        assert error["limit"]["kind"] == "tpm"

        async def is_let_in() -> bool:
            await session.send("response.create")
            return (await session.receive_until("error", "response.done"))["type"] == "response.done"

        await wait_until(is_let_in, "the debt to be paid", pause_s=0.3)

    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"]) == ("completed", None)


async def test_a_response_the_model_starts_by_itself_is_cancelled_in_debt(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("tpm", 600)
    turns = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}

    async with open_realtime(caller) as session:
        await session.send("session.update", session=turns)
        await session.ask("Hello [tokens=800]")
        await session.send_text("Speak [tokens=3000] [rate=50]")
        await session.send("input_audio_buffer.append", audio="AAAA")
        await session.send("input_audio_buffer.commit")
        assert (await session.receive_until("error"))["error"]["code"] == "rate_limit_exceeded"
        assert (await session.receive_until("response.done"))["response"]["status"] == "cancelled"

    assert (await ledger.row(caller.account_id))["completion_tokens"] < 900


async def test_charges_of_one_session_count_for_another(caller: Caller, ledger: Ledger) -> None:
    await caller.limit("tokens", 1500, window="day")

    async with open_realtime(caller) as one, open_realtime(caller) as other:
        await one.send_text("Go on [tokens=300] [rate=100]")
        await one.send("response.create")
        await one.receive_until("response.output_text.delta")
        # 1,024 are taken for the response in progress; the other session takes the same, and then nothing is left.
        await other.ask("Hello [tokens=10]")
        await other.send("response.create")
        assert (await other.receive_until("error", "response.done"))["type"] == "response.done"
        assert (await refused(caller))[:2] == (429, "rate_limit_exceeded")


async def test_a_lease_that_redis_lost_is_taken_again_with_its_charges(
    make: MakeCaller, start_gateway: StartGateway, redis_state: RedisState, ledger: Ledger
) -> None:
    gateway = start_gateway()
    caller = (await make(MODEL)).at(gateway.url)
    await caller.limit("concurrency", 1)
    (app,) = gateway.apps

    async with open_realtime(caller) as session:
        await session.ask("Hello [tokens=2000]")
        held = await redis_state.open_leases(caller.account_id)
        await redis_state._client.delete(f"lm1:{{{caller.account_id}}}")
        renewing = asyncio.run_coroutine_threadsafe(app.worker.leases.renew(0), gateway.loop)
        assert await asyncio.wrap_future(renewing)
        assert await redis_state.open_leases(caller.account_id) == held
        field = f"T|s{await _subscription(caller)}|month"
        assert (await redis_state.counter(caller.account_id, field))[2] >= 2000

    row = await ledger.row(caller.account_id)
    await redis_state.wait_until_settled(caller.account_id)
    assert (await redis_state.counter(caller.account_id, field))[1] == row["counted_tokens"]


async def _subscription(caller: Caller) -> int:
    found: int = await caller.pool.fetchval("SELECT id FROM subscriptions WHERE account_id = $1", caller.account_id)
    return found


async def test_without_redis_sessions_continue_if_so_configured(
    make: MakeCaller, start_gateway: StartGateway, ledger: Ledger
) -> None:
    away = f"redis://127.0.0.1:{free_port()}"
    caller = (await make(MODEL)).at(start_gateway(redis_url=away, when_limits_unavailable="allow").url)

    async with open_realtime(caller) as session:
        done = await session.ask("Hello [tokens=5]")

    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["counted_tokens"]) == ("completed", done["response"]["usage"]["total_tokens"])


async def test_a_session_that_outlasts_the_shutdown_grace_is_cut_and_recorded(
    make: MakeCaller,
    start_gateway: StartGateway,
    ledger: Ledger,
    redis_state: RedisState,
    unhandled_errors: UnhandledErrors,
) -> None:
    gateway = start_gateway(grace_s=1)
    caller = (await make(MODEL)).at(gateway.url)

    async with open_realtime(caller) as session:
        await session.send_text("Go on [tokens=500] [rate=40]")
        await session.send("response.create")
        await session.receive_until("response.output_text.delta")
        gateway.request_stop()
        *events, last = await session.receive_all()

    await gateway.stop_async()
    assert (last["error"]["code"], session.close_code) == ("shutting_down", 1012)
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["estimated_why"], row["error_code"]) == ("upstream_error", "cut_off", "shutting_down")
    assert len(events) <= row["completion_tokens"]
    assert unhandled_errors.seen == ["Cancel 1 running task(s), timeout graceful shutdown exceeded None"]
    unhandled_errors.seen.clear()
    await redis_state.wait_until_settled(caller.account_id)


async def test_open_sessions_are_a_metric(make: MakeCaller, start_gateway: StartGateway) -> None:
    caller = (await make(MODEL)).at(start_gateway().url)

    async def open_now() -> float:
        lines = (line.rsplit(" ", 1) for line in scraped_metrics().splitlines() if not line.startswith("#"))
        return next(float(value) for name, value in lines if name == "litemaas_realtime_sessions_open")

    before = await open_now()
    async with open_realtime(caller) as session:
        await session.receive_until("session.created")
        assert await open_now() == before + 1

    async def is_closed() -> bool:
        return await open_now() == before

    await wait_until(is_closed, "the gauge to fall")
