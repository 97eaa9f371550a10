"""Several addresses of LiteLLM: calls go to those that work, and no call is sent twice."""

from collections.abc import Callable
from typing import Any

import pytest
from callers import Caller, new_mark
from gateways import Ledger, RedisState, UpstreamLog, wait_until

from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.processes import free_port
from gateway.domain import breaker
from gateway.domain.breaker import FAILURES_TO_OPEN

StartGateway = Callable[..., Any]


async def test_an_unreachable_address_fails_no_call(
    backends: Any, caller: Caller, start_gateway: StartGateway, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    gateway = start_gateway(litellm_urls=f"http://127.0.0.1:{free_port()},{backends.model_server.url}")
    mark = new_mark()

    answers = [await caller.at(gateway.url).chat(f"Hello [tokens=1] [mark={mark}]") for _ in range(20)]

    assert {response.status for response in answers} == {200}
    assert len(await upstream_log.calls(mark=mark)) == 20
    assert {row["ending"] for row in await ledger.rows(caller.account_id, 20)} == {"completed"}


async def test_calls_go_to_the_least_busy_address(
    backends: Any, caller: Caller, start_gateway: StartGateway, tmp_path: Any
) -> None:
    with ModelServer(tmp_path, delay_s=0.3, tokens_per_s=0) as slow:
        gateway = start_gateway(litellm_urls=f"{slow.url},{backends.model_server.url}")
        await caller.at(gateway.url).chats(20, "Hello [tokens=1]")
        caller_of_slow = UpstreamLog(slow.url, caller.http)

        assert 5 <= await caller_of_slow.count() <= 15


async def test_with_no_address_left_a_call_is_refused_and_costs_nothing(
    caller: Caller, start_gateway: StartGateway, ledger: Ledger, redis_state: RedisState
) -> None:
    await caller.limit("requests", 100, window="day")
    gateway = start_gateway(litellm_urls=f"http://127.0.0.1:{free_port()}")

    answers = [await caller.at(gateway.url).chat() for _ in range(8)]

    assert {(response.status, response.code) for response in answers} == {(503, "upstream_unavailable")}
    rows = await ledger.rows(caller.account_id, 8)
    assert {(row["ending"], row["counted_requests"], row["counted_tokens"]) for row in rows} == {("unreachable", 0, 0)}
    await redis_state.wait_until_settled(caller.account_id)
    assert (await redis_state.counter(caller.account_id, f"R|k{caller.key_id}|day"))[1] == 0


async def test_s15_the_only_address_is_used_by_the_first_call_after_it_is_back(
    start_gateway: StartGateway, caller: Caller, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No pause of a breaker keeps a caller away.
    monkeypatch.setattr(breaker, "FIRST_PAUSE_S", 600.0)
    with ModelServer(tmp_path, delay_s=0, tokens_per_s=0) as only:
        own = caller.at(start_gateway(litellm_urls=only.url).url)
        only.stop()
        while_away = [(await own.chat()).status for _ in range(3 * FAILURES_TO_OPEN)]
        only.start()
        after = [(await own.chat("Hello [tokens=1]")).status for _ in range(5)]

    assert set(while_away) == {503}
    assert after == [200] * 5


async def test_s15_an_address_that_is_back_is_found_by_its_health_and_not_by_a_caller(
    backends: Any, caller: Caller, start_gateway: StartGateway, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST_PAUSE_S", 600.0)
    with ModelServer(tmp_path, delay_s=0, tokens_per_s=0) as second:
        # Where calls in flight are equal the first address is chosen.
        own = caller.at(start_gateway(litellm_urls=f"{second.url},{backends.model_server.url}").url)
        of_second = UpstreamLog(second.url, caller.http)
        second.stop()
        statuses = [(await own.chat("Hello [tokens=1]")).status for _ in range(2 * FAILURES_TO_OPEN)]
        second.start()

        async def serves() -> bool:
            statuses.append((await own.chat("Hello [tokens=1]")).status)
            return await of_second.count() > 0

        await wait_until(serves, "the address to be used again")

    assert set(statuses) == {200}
