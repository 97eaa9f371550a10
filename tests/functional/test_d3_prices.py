"""What a call is charged that costs more than its tokens at one price (D3, S4), and figures that cannot be (S10)."""

import json
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from callers import Caller, MakeCaller, Response
from factories import ADMIN, make_model
from gateways import GatewayThread, Ledger, RedisState, StartGateway, scraped_metrics
from recording_upstream import RecordingUpstream, event

from admin_api.operations.models.litellm_info import parse_model_info
from admin_api.operations.models.price_input import PriceInput
from admin_api.operations.models.prices import set_price as set_price_of
from admin_api.storage import prices as price_rows
from gateway.domain.prices import Price, PriceTier
from gateway.endpoints.chat import parse_chat
from gateway.storage.postgres import Pool

FLAT: dict[str, Decimal | None] = {"input": Decimal("0.000001"), "output": Decimal("0.000002")}
SEARCH = {"type": "web_search", "search_context_size": "low"}
NUMBERS = count()
CHAT = "/v1/chat/completions"
# By account.
MODELS: dict[int, str] = {}
ANTHROPIC_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture
async def server(upstream: RecordingUpstream, start_gateway: StartGateway) -> GatewayThread:
    return start_gateway(litellm_urls=upstream.url)


@pytest.fixture
async def caller(make: MakeCaller, pool: Pool, server: GatewayThread) -> Caller:
    """Of a model of its own, in front of the recording upstream."""
    name = await make_model(pool, f"priced-{next(NUMBERS)}")
    caller = (await make(name)).at(server.url)
    MODELS[caller.account_id] = name
    await caller.remove_subscription_limits()
    return caller


async def set_price(caller: Caller, server: GatewayThread, **about: Any) -> None:
    """By an admin; `charge` is `higher` unless said otherwise."""
    about = {"units": FLAT, "charge": "higher", "confirmed": True} | about
    about["tiers"] = {tier[:3]: tier.usd for tier in about.get("tiers", ())}
    await set_price_of(caller.pool, ADMIN, MODELS[caller.account_id], PriceInput(**about))
    await server.wait_for_changes(caller.pool)


async def post(caller: Caller, path: str, **fields: Any) -> Response:
    body = {"model": MODELS[caller.account_id]} | fields
    headers = {"authorization": f"Bearer {caller.key}", "content-type": "application/json"}
    async with caller.http.post(f"{caller.url}{path}", data=json.dumps(body), headers=headers) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def chat(caller: Caller, **fields: Any) -> Response:
    return await post(caller, "/v1/chat/completions", messages=[{"role": "user", "content": "hi"}], **fields)


async def ask(caller: Caller, **fields: Any) -> Response:
    return await post(caller, "/v1/responses", input="hi", **fields)


def answers(upstream: RecordingUpstream, usage: Mapping[str, Any], *headers: str, **more: Any) -> None:
    message = {"role": "assistant", "content": "x"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage} | more
    upstream.answer(json.dumps(body).encode(), headers=headers)


def counts(prompt: int, completion: int = 1, **details: Any) -> dict[str, Any]:
    total = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return total | details


def responds(upstream: RecordingUpstream, output: list[dict[str, Any]], **usage: Any) -> None:
    used = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15} | usage
    body = {"id": "resp_x", "object": "response", "status": "completed", "output": output, "usage": used}
    upstream.answer(json.dumps(body).encode())


def searched(*ids: str) -> list[dict[str, Any]]:
    return [{"type": "web_search_call", "id": one, "status": "completed"} for one in ids]


@pytest.mark.parametrize("stream", [False, True])
async def test_d3a_a_long_prompt_costs_the_price_of_its_size(
    stream: bool, caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    tiers = [
        PriceTier("input", 200_000, "", Decimal("0.000002")),
        PriceTier("output", 200_000, "", Decimal("0.000004")),
    ]
    await set_price(caller, server, tiers=tiers)
    if stream:
        usage = event(choices=[], usage=counts(250_000, 1000))
        upstream.stream([event(choices=[{"index": 0, "delta": {"content": "x"}}]), usage, b"data: [DONE]\n\n"])
    else:
        answers(upstream, counts(250_000, 1000))

    assert (await chat(caller, stream=stream)).status == 200

    row = await ledger.row(caller.account_id)
    assert (row["cost_nano_usd"], row["own_cost_nano_usd"]) == (504_000_000,) * 2


async def test_d3b_the_service_tier_of_the_answer_is_charged(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    await set_price(caller, server, tiers=[PriceTier("input", 0, "priority", Decimal("0.000003"))])
    answers(upstream, counts(1000, 0), service_tier="priority")

    assert (await chat(caller, service_tier="auto")).status == 200

    assert (await ledger.row(caller.account_id))["cost_nano_usd"] == 3_000_000


async def test_d3_anthropics_stream_is_charged_by_the_life_of_the_cache_and_its_searches(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    """Streams of messages report no cost: our own figure is all there is."""
    prices = {
        "cache_write": Decimal("0.00000125"),
        "cache_write_1h": Decimal("0.000002"),
        "web_search": Decimal("0.01"),
    }
    await set_price(caller, server, units=FLAT | prices)
    life = {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}
    start = {"input_tokens": 10, "cache_creation_input_tokens": 100, "cache_creation": life, "output_tokens": 1}
    end = {"output_tokens": 5, "server_tool_use": {"web_search_requests": 2}}
    upstream.stream([
        event(type="message_start", message={"model": "m", "usage": start}),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage=end),
        event(type="message_stop"),
    ])  # fmt: skip
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}

    assert (await post(caller, "/v1/messages", tools=[ANTHROPIC_SEARCH], **body)).status == 200

    cost = (await ledger.row(caller.account_id))["cost_nano_usd"]
    assert cost == 10 * 1000 + 60 * 1250 + 40 * 2000 + 5 * 2000 + 2 * 10_000_000


@pytest.mark.parametrize("stream", [False, True])
async def test_d3c_searches_are_charged_by_their_fee(
    stream: bool, caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    await set_price(caller, server, units=FLAT | {"web_search": Decimal("0.01")})
    if stream:
        items = searched("a", "b", "c")
        done = [event(type="response.output_item.done", item=item) for item in items]
        used = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        upstream.stream([*done, event(type="response.completed", response={"output": items, "usage": used})])
    else:
        responds(upstream, searched("a", "b", "c"))

    assert (await ask(caller, tools=[SEARCH], stream=stream)).status == 200

    assert (await ledger.row(caller.account_id))["cost_nano_usd"] == 10 * 1000 + 5 * 2000 + 30_000_000


async def test_s4_who_leaves_is_charged_for_the_searches_that_began(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    await set_price(caller, server, units=FLAT | {"web_search": Decimal("0.01")})
    began = [event(type="response.output_item.added", item=item) for item in searched("a", "b")]
    upstream.stream([*began, b": wait\n\n" * 400], pause_s=0.3, is_whole=False)

    headers = {"authorization": f"Bearer {caller.key}"}
    body = {"model": MODELS[caller.account_id], "input": "hi", "stream": True, "max_output_tokens": 10}

    async with caller.http.post(
        f"{caller.url}/v1/responses", headers=headers, json=body | {"tools": [SEARCH]}
    ) as answer:
        seen = b""
        while seen.count(b"output_item.added") < 2:
            seen += await answer.content.readany()
        answer.close()

    row = await ledger.row(caller.account_id)
    assert 20_000_000 < row["cost_nano_usd"] < 20_100_000


def implausible() -> float:
    return next(
        float(line.split()[1])
        for line in scraped_metrics().splitlines()
        if line.startswith("litemaas_implausible_costs_total ")
    )


@pytest.mark.parametrize(
    ("charge", "litellm", "charged"),
    [
        ("higher", "0.00009", 90_000),
        ("higher", "0.000001", 12_000),
        ("higher", "12", 12_000),
        ("own", "0.00009", 12_000),
    ],
)
async def test_d3_the_higher_figure_is_charged_unless_the_price_says_own_or_it_cannot_be(
    charge: str, litellm: str, charged: int, caller: Caller, server: GatewayThread, upstream: RecordingUpstream,
    ledger: Ledger, redis_state: RedisState,
) -> None:  # fmt: skip
    await set_price(caller, server, charge=charge)
    await caller.limit("cost", 10**12, window="month")
    await server.wait_for_changes(caller.pool)
    answers(upstream, counts(10, 1), f"x-litellm-response-cost: {litellm}")
    before = implausible()

    assert (await chat(caller, max_tokens=1)).status == 200

    row = await ledger.row(caller.account_id)
    own, reported = row["own_cost_nano_usd"], row["litellm_cost_nano_usd"]
    assert (row["cost_nano_usd"], own, reported) == (charged, 12_000, round(float(litellm) * 10**9))
    assert row["counted_nano_usd"] == charged
    assert implausible() - before == (litellm == "12")


async def test_d3_a_tool_whose_fee_is_not_known_is_refused_under_a_cost_limit_only(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream
) -> None:
    await set_price(caller, server)
    responds(upstream, [])
    assert (await ask(caller, tools=[SEARCH])).status == 200
    await caller.limit("cost", 10**9, window="month")
    await server.wait_for_changes(caller.pool)

    refused = await ask(caller, tools=[SEARCH])

    assert (refused.status, refused.code) == (403, "cost_not_bounded")
    assert "'web_search'" in refused.error["message"]
    assert "config.toml" in refused.error["message"]
    assert (await ask(caller, tools=[{"type": "function", "name": "f", "parameters": {}}])).status == 200


async def test_d3c_three_searches_of_a_third_of_the_budget_each_are_reserved_and_no_fourth_is_admitted(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger, redis_state: RedisState
) -> None:
    """A key with 1 USD a month made three calls of 3 USD fee each."""
    await set_price(caller, server, units=FLAT | {"web_search": Decimal("0.3")})
    await caller.limit("cost", 10**9, window="month")
    await server.wait_for_changes(caller.pool)
    responds(upstream, searched("a"))

    assert (await ask(caller, tools=[SEARCH], max_tool_calls=4)).status in (400, 429)
    assert (await ask(caller, tools=[SEARCH])).status in (400, 429)
    statuses = []
    for _ in range(4):
        statuses.append((await ask(caller, tools=[SEARCH], max_tool_calls=1, max_output_tokens=10)).status)
        await redis_state.wait_until_settled(caller.account_id)

    assert statuses == [200, 200, 200, 429]
    rows = await ledger.rows(caller.account_id, 3)
    assert sum(row["counted_nano_usd"] for row in rows) == 3 * (300_000_000 + 20_000)


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}], "max_tokens": 5}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "web_search_options": {}}, "tools"),
        ({"messages": [{"role": "user", "content": "x"}]}, "max_tokens"),
    ],
)
async def test_d3_a_call_without_a_bound_is_refused_where_a_cost_limit_reserves_the_maximum(
    fields: dict[str, Any], param: str, caller: Caller, server: GatewayThread, upstream: RecordingUpstream
) -> None:
    await caller.pool.execute("UPDATE models SET max_output_tokens = NULL WHERE name = $1", MODELS[caller.account_id])
    await set_price(caller, server, units=FLAT | {"web_search": Decimal("0.01")})
    answers(upstream, counts(10, 1))
    await caller.limit("cost", 10**9, window="month")
    await server.wait_for_changes(caller.pool)
    assert (await post(caller, "/v1/chat/completions", **fields)).status == 200

    await caller.limit("cost", 10**9, window="month", reserve="maximum")
    await server.wait_for_changes(caller.pool)
    refused = await post(caller, "/v1/chat/completions", **fields)

    assert (refused.status, refused.code, refused.error["param"]) == (403, "cost_not_bounded", param)


@pytest.mark.parametrize(("served", "nano"), [("priority", 9_000), ("default", 1_000), (None, 9_000)])
async def test_d3_a_dear_service_tier_passes_where_the_price_knows_it_and_is_charged_as_it_was_served(
    served: str | None, nano: int, caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    await set_price(caller, server)
    refused = await chat(caller, service_tier="priority")
    assert (refused.status, refused.code, refused.error["param"]) == (400, "parameter_not_allowed", "service_tier")
    assert "litemaas prices set" in refused.error["message"]
    await set_price(caller, server, tiers=[PriceTier("input", 0, "priority", Decimal("0.000009"))])
    answers(upstream, counts(1000, 0), **({} if served is None else {"service_tier": served}))

    assert (await chat(caller, service_tier="priority")).status == 200

    assert (await ledger.row(caller.account_id))["cost_nano_usd"] == 1000 * nano


async def test_d3_what_is_reserved_is_the_dearest_of_the_service_tiers_at_which_a_call_may_be_served(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream
) -> None:
    """`flex` may be served at the usual price, `auto` at any, and `priority` at nine times the usual."""
    tiers = [PriceTier("input", 0, "flex", Decimal("5E-7")), PriceTier("input", 0, "priority", Decimal("0.000009"))]
    await set_price(caller, server, tiers=tiers)
    answers(upstream, counts(10, 1))
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": "hi " * 10_000}], "max_tokens": 1}
    usual = round(parse_chat(json.dumps(fields | {"model": "m"}).encode()).prompt_tokens) * 1000
    # Those that are refused first: an admitted call would teach what prompts take.
    asked: list[dict[str, Any]] = [*({"service_tier": tier} for tier in ("priority", "auto", "flex")), {}]

    async def admitted(amount: int) -> list[bool]:
        await caller.limit("cost", amount, window="month")
        await server.wait_for_changes(caller.pool)
        return [(await post(caller, CHAT, **fields, **more)).status == 200 for more in asked]

    assert await admitted(usual * 7 // 10) == [False] * 4
    assert await admitted(usual * 5) == [False, False, True, True]


async def test_d3_deployments_with_different_prices_have_no_bound_where_a_cost_limit_reserves_the_maximum(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream
) -> None:
    infos = [{"input_cost_per_token": 1e-6, "output_cost_per_token": usd} for usd in (2e-6, 8e-6)]
    listed = {"data": [{"model_name": MODELS[caller.account_id], "model_info": info} for info in infos]}
    (seen,) = parse_model_info(json.dumps(listed)).models
    assert seen.price is not None
    async with caller.pool.acquire() as connection:
        model_id = await connection.fetchval("SELECT id FROM models WHERE name = $1", MODELS[caller.account_id])
        await price_rows.insert_price(connection, model_id, source="litellm", price=seen.price)
    await caller.limit("cost", 10**9, window="month", reserve="maximum")
    await server.wait_for_changes(caller.pool)
    answers(upstream, counts(10, 1))

    refused = await chat(caller, max_tokens=5)
    await set_price(caller, server, charge="own")

    assert (refused.status, refused.code) == (403, "cost_not_bounded")
    assert "several deployments with different prices" in refused.error["message"]
    assert "--charge own" in refused.error["message"]
    assert (await chat(caller, max_tokens=5)).status == 200


async def test_d3_a_price_field_that_cannot_be_used_refuses_where_a_cost_limit_reserves_the_maximum(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream
) -> None:
    price = Price(id=0, input=Decimal("0.000001"), output=Decimal("0.000002"), unusable=("citation_cost_per_token",))
    async with caller.pool.acquire() as connection:
        model_id = await connection.fetchval("SELECT id FROM models WHERE name = $1", MODELS[caller.account_id])
        await price_rows.insert_price(connection, model_id, source="litellm", price=price)
    await caller.limit("cost", 10**9, window="month", reserve="maximum")
    await server.wait_for_changes(caller.pool)
    answers(upstream, counts(10, 1))

    refused = await chat(caller, max_tokens=5)

    assert (refused.status, refused.code) == (403, "cost_not_bounded")
    assert "citation_cost_per_token" in refused.error["message"]


async def test_d3_with_reserve_maximum_a_cost_limit_is_never_overspent(
    caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger, redis_state: RedisState
) -> None:
    """Each call takes its dearest way: all of its prompt above the size, at the dearest service tier."""
    tiers = [
        PriceTier("input", 20, "priority", Decimal("0.000009")),
        PriceTier("output", 0, "priority", Decimal("0.00002")),
    ]
    await set_price(caller, server, tiers=tiers)
    await caller.limit("cost", 5_000_000, window="month", reserve="maximum")
    await server.wait_for_changes(caller.pool)
    answers(upstream, counts(40, 50), "x-litellm-response-cost: 0.0013600000000000003", service_tier="priority")

    statuses = []
    for _ in range(8):
        statuses.append((await chat(caller, max_tokens=50)).status)
        await redis_state.wait_until_settled(caller.account_id)

    rows = await ledger.rows(caller.account_id, statuses.count(200))
    assert {row["cost_nano_usd"] for row in rows} == {40 * 9000 + 50 * 20_000 + 1}
    assert 1 <= statuses.count(200) <= 3
    assert sum(row["cost_nano_usd"] for row in rows) <= 5_000_000


COLUMNS = {"cache_creation_tokens": "cache_write_tokens"}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (counts(10, 2, prompt_tokens_details={"cached_tokens": 100_000}), 10 * 100 + 2 * 2000),
        (counts(10, 2, completion_tokens_details={"reasoning_tokens": 900}), 10 * 1000 + 2 * 5000),
        (
            counts(10, 2, prompt_tokens_details={"cached_tokens": 8, "cache_creation_tokens": 9}),
            8 * 100 + 2 * 3000 + 4000,
        ),
    ],
)
async def test_s10_figures_that_contradict_each_other_are_kept_charged_as_clamped_and_marked(
    usage: dict[str, Any], cost: int, caller: Caller, server: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    parts = {"cached_input": Decimal("1E-7"), "cache_write": Decimal("0.000003"), "reasoning": Decimal("0.000005")}
    await set_price(caller, server, units=FLAT | parts)
    answers(upstream, usage, "x-litellm-response-cost: 0.00005")

    assert (await chat(caller)).status == 200

    row = await ledger.row(caller.account_id)
    details = {**usage.get("prompt_tokens_details", {}), **usage.get("completion_tokens_details", {})}
    assert {name: row[COLUMNS.get(name, name)] for name in details} == details
    assert (row["cost_nano_usd"], row["counted_tokens"]) == (cost, 12)
    assert (row["estimated"], row["estimated_why"]) == (True, "clamped")
    assert row["litellm_cost_nano_usd"] == 50_000


async def test_s10_a_part_that_is_nonsense_costs_only_itself(
    caller: Caller, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    answers(upstream, counts(10, 2, prompt_tokens_details={"cached_tokens": -5}), model=7)

    assert (await chat(caller)).status == 200

    row = await ledger.row(caller.account_id)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]) == (10, 2, 0)
    assert (row["estimated"], row["model_served"]) == (False, None)


@pytest.mark.parametrize("status", ["999 Nonsense", "600 Above"])
async def test_s10_a_status_that_http_does_not_have_is_502(
    status: str, caller: Caller, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    upstream.answer(b'{"error": {"message": "x"}}', status=status)

    assert (await chat(caller)).status == 502
    assert (await ledger.row(caller.account_id))["cost_nano_usd"] == 0
