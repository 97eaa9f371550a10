"""Several addresses of LiteLLM: calls go to those that work, and no call is sent twice."""

from collections.abc import Callable
from typing import Any

from callers import Caller, new_mark
from gateways import Ledger, RedisState, UpstreamLog, wait_until

from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.processes import free_port

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


async def test_a_recovered_address_is_used_again(
    backends: Any, caller: Caller, start_gateway: StartGateway, tmp_path: Any
) -> None:
    with ModelServer(tmp_path, delay_s=0, tokens_per_s=0) as second:
        gateway = start_gateway(litellm_urls=second.url)
        own = caller.at(gateway.url)
        second.stop()
        assert {(await own.chat()).status for _ in range(6)} == {503}
        second.start()

        async def serves() -> bool:
            return (await own.chat("Hello [tokens=1]")).status == 200

        await wait_until(serves, "the address to be tried again")
