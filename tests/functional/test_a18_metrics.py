"""What the gateway's metrics say of models, of its own share of a call, of LiteLLM's addresses and of Redis."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from callers import CHAT, Caller, MakeCaller, chat_body
from gateways import StartGateway, wait_until
from recording_upstream import RecordingUpstream, event

from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.model_server.names import CHAT as CHAT_MODELS
from deploy.embedded.processes import free_port
from gateway.domain.breaker import FAILURES_TO_OPEN
from gateway.metrics import REGISTRY
from gateway.tallies import OTHER, write_tallies

ENDPOINT = {"endpoint": "chat_completions"}
SLOW_S = 1.0


def value(name: str, **labels: str) -> float:
    """Of all gateways that run in threads of this process."""
    write_tallies()
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Shares:
    """The whole and the gateway's own seconds of the calls since it was made."""

    def __init__(self) -> None:
        self._before = self._read()

    def _read(self) -> tuple[float, float, float]:
        return (
            value("litemaas_call_seconds_sum", **ENDPOINT),
            value("litemaas_own_seconds_sum", **ENDPOINT),
            value("litemaas_own_seconds_count", **ENDPOINT),
        )

    async def of_one_call(self) -> tuple[float, float]:
        """A call is counted after its response."""

        async def is_counted() -> bool:
            return self._read()[2] > self._before[2]

        await wait_until(is_counted, "the call to be counted")
        whole, own, calls = (now - before for now, before in zip(self._read(), self._before, strict=True))
        assert calls == 1
        return whole, own


async def test_a18_calls_are_counted_by_model_and_provider(caller: Caller) -> None:
    provider = await caller.pool.fetchval("SELECT coalesce(provider, 'litellm') FROM models WHERE name = 'demo-chat'")
    model = {"model": "demo-chat", "provider": provider}
    names = {
        "litemaas_model_calls_total": model | {"ending": "completed"},
        "litemaas_model_tokens_total": model | {"direction": "output"},
        "litemaas_model_cost_nano_usd_total": model,
        "litemaas_model_call_seconds_count": model,
        "litemaas_model_first_byte_seconds_count": model,
    }
    before = {name: value(name, **labels) for name, labels in names.items()}

    await caller.chat("Hello [tokens=7]")
    await caller.chat("Hello [tokens=7]", stream=True)

    async def are_counted() -> bool:
        return value("litemaas_model_calls_total", **model, ending="completed") - before[
            "litemaas_model_calls_total"
        ] >= 2  # fmt: skip

    await wait_until(are_counted, "both calls to be counted")
    cost = await caller.pool.fetchval(
        "SELECT sum(cost_nano_usd)::bigint FROM usage_logs WHERE account_id = $1", caller.account_id
    )
    grown = {name: value(name, **labels) - before[name] for name, labels in names.items()}
    assert grown["litemaas_model_tokens_total"] == 14
    assert grown["litemaas_model_call_seconds_count"] == grown["litemaas_model_first_byte_seconds_count"] == 2
    assert cost is None or grown["litemaas_model_cost_nano_usd_total"] >= cost > 0


async def test_a18_models_beyond_the_bound_are_counted_as_other(
    caller: Caller, make: MakeCaller, start_gateway: StartGateway
) -> None:
    """The same models in all workers: the oldest."""
    names = [row["name"] for row in await caller.pool.fetch("SELECT name FROM models WHERE enabled ORDER BY id")]
    named_models = names.index("demo-chat") + 1
    younger = next(name for name in names[named_models:] if name in CHAT_MODELS)
    gateway = start_gateway(metrics_models=named_models)
    provider = await caller.pool.fetchval("SELECT coalesce(provider, 'litellm') FROM models WHERE name = 'demo-chat'")
    others = {"model": OTHER, "provider": OTHER, "ending": "completed"}
    named = {"model": "demo-chat", "provider": provider, "ending": "completed"}
    before = [value("litemaas_model_calls_total", **labels) for labels in (others, named)]
    prices = gateway.apps[0].worker.model_prices

    async def is_bounded() -> bool:
        return not prices.is_named(10**9)

    await wait_until(is_bounded, "the gateway to know the catalogue")

    await caller.at(gateway.url).chat()
    await (await make(younger)).at(gateway.url).chat(model=younger)

    async def are_counted() -> bool:
        now = [value("litemaas_model_calls_total", **labels) for labels in (others, named)]
        return [after - then for after, then in zip(now, before, strict=True)] == [1, 1]

    await wait_until(are_counted, "one call under the model's name and one as other")


async def test_a18_the_wait_for_litellm_is_not_the_gateways_own(caller: Caller) -> None:
    shares = Shares()

    await caller.chat(f"Hello [tokens=2] [delay={SLOW_S}]")

    whole, own = await shares.of_one_call()
    assert whole >= SLOW_S
    assert own < whole / 2


async def test_a18_the_wait_between_events_is_not_the_gateways_own(caller: Caller) -> None:
    shares = Shares()

    await caller.chat("Hello [tokens=10] [rate=10]", stream=True)

    whole, own = await shares.of_one_call()
    assert whole >= 0.8
    assert own < whole / 2


async def test_a18_the_wait_for_the_callers_body_is_not_the_gateways_own(caller: Caller) -> None:
    shares = Shares()
    body = json.dumps(chat_body("Hello [tokens=1]")).encode()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:10]
        await asyncio.sleep(SLOW_S)
        yield body[10:]

    headers = {**caller.authorization, "content-type": "application/json"}
    async with caller.http.post(caller.url + CHAT, data=slowly(), headers=headers) as answer:
        assert answer.status == 200
        await answer.read()

    whole, own = await shares.of_one_call()
    assert whole >= SLOW_S * 0.9
    assert own < whole / 2


async def test_a18_the_wait_for_a_caller_who_reads_slowly_is_not_the_gateways_own(
    caller: Caller, start_gateway: StartGateway
) -> None:
    async with RecordingUpstream() as upstream:
        # More than the buffers of the system hold, in events so large that nothing looks into them.
        upstream.stream([event(choices=[{"delta": {"content": "x" * 2_000_000}}])] * 10)
        there = caller.at(start_gateway(litellm_urls=upstream.url).url)
        shares = Shares()

        async with there.open_chat(stream=True) as answer:
            await answer.content.readuntil(b"data: ")
            await asyncio.sleep(SLOW_S)
            while await answer.content.readany():
                pass

        whole, own = await shares.of_one_call()
    assert whole >= SLOW_S
    assert own < whole / 2


async def test_a18_the_wait_for_redis_is_the_gateways_own(caller: Caller, redis_state: Any) -> None:
    """And Redis's answers are seen to be slow."""
    await caller.chat()  # the key is in the cache, and the counters are in Redis
    await redis_state.wait_until_settled(caller.account_id)
    counted = value("litemaas_own_seconds_count", **ENDPOINT)

    async def is_still() -> bool:
        nonlocal counted
        last, counted = counted, value("litemaas_own_seconds_count", **ENDPOINT)
        return last == counted

    await wait_until(is_still, "earlier calls to be counted", pause_s=0.2)
    shares = Shares()
    seconds = value("litemaas_redis_seconds_sum", script="reserve")
    slow = [value("litemaas_redis_seconds_bucket", script="reserve", le=le) for le in ("+Inf", "0.25")]

    await redis_state._client.client_pause(round(SLOW_S * 1000))
    await caller.chat("Hello [tokens=1]")

    whole, own = await shares.of_one_call()
    assert own > whole / 2
    assert value("litemaas_redis_seconds_sum", script="reserve") - seconds > whole / 2
    now = [value("litemaas_redis_seconds_bucket", script="reserve", le=le) for le in ("+Inf", "0.25")]
    assert (now[0] - slow[0]) - (now[1] - slow[1]) == 1


async def test_a18_scripts_that_redis_does_not_answer_are_counted(caller: Caller, start_gateway: StartGateway) -> None:
    gateway = start_gateway(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    before = value("litemaas_redis_failures_total", script="reserve")

    answers = [await caller.at(gateway.url).chat() for _ in range(3)]

    assert {answer.code for answer in answers} == {"limits_unavailable"}
    assert value("litemaas_redis_failures_total", script="reserve") - before == 3


async def test_a18_failures_and_the_breaker_are_by_address(
    caller: Caller, start_gateway: StartGateway, tmp_path: Any
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    with ModelServer(tmp_path, delay_s=0, tokens_per_s=0) as there:
        gateway = start_gateway(litellm_urls=f"{away},{there.url}")
        for _ in range(FAILURES_TO_OPEN):
            await caller.at(gateway.url).chat()

        async def is_seen() -> bool:
            return value("litemaas_upstream_left_out", address=away) == 1

        await wait_until(is_seen, "the breaker of the address that is away")

    assert value("litemaas_upstream_failures_total", address=away, cause="unreachable") == FAILURES_TO_OPEN
    assert value("litemaas_upstream_answers_total", address=there.url, status="2xx") == FAILURES_TO_OPEN
    assert value("litemaas_upstream_left_out", address=there.url) == 0


async def test_a18_an_answer_that_breaks_off_and_one_that_stays_away_are_failures_of_the_address(
    caller: Caller, start_gateway: StartGateway, tmp_path: Any
) -> None:
    with ModelServer(tmp_path, delay_s=0, tokens_per_s=20) as own:
        gateway = start_gateway(litellm_urls=own.url, first_byte_timeout_s=0.3)
        await caller.at(gateway.url).chat("Hello [delay=2]")
        stream = asyncio.create_task(caller.at(gateway.url).chat("Hello [tokens=100]", stream=True))

        async def is_answered() -> bool:
            return value("litemaas_upstream_answers_total", address=own.url, status="2xx") >= 1

        await wait_until(is_answered, "the stream to begin")
        assert value("litemaas_upstream_calls_in_flight", address=own.url) == 1
        own.stop()
        await stream

    async def are_counted() -> bool:
        causes = ("silent", "broken")
        return [value("litemaas_upstream_failures_total", address=own.url, cause=cause) for cause in causes] == [1, 1]

    await wait_until(are_counted, "a failure of each cause")
