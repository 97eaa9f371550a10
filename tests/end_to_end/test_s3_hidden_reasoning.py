"""Case S3: reasoning that callers are not shown is charged through the real LiteLLM, although the caller leaves."""

import asyncio

import pytest
from callers import MakeCaller, new_mark
from gateways import Ledger, UpstreamLog, wait_until

from end_to_end.asking import CHAT, MESSAGES, RESPONSES, Route, ended, opened
from end_to_end.conftest import MeasureDrift


@pytest.mark.parametrize("route", [CHAT, RESPONSES, MESSAGES], ids=lambda route: route.name)
async def test_s3_who_leaves_while_the_model_reasons_is_charged_its_usage(
    route: Route, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    caller = await make(route.model)
    mark = new_mark()

    async def run() -> None:
        prompt = f"Think [delay=0.5] [reasoning=150] [tokens=180] [rate=100] [mark={mark}]"
        thinks = {"chat_template_kwargs": {"enable_thinking": True}}
        async with opened(caller, route, prompt, stream=True, **thinks) as answer:
            await answer.content.read()

    async def is_running() -> bool:
        return bool(await upstream_log.calls(mark=mark, ending="running"))

    call = asyncio.ensure_future(run())
    await wait_until(is_running, "the call at the model server")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    billed, row = await ended(upstream_log, mark), await ledger.row(caller.account_id)
    assert billed["ending"] == "complete"
    assert (row["ending"], row["estimated"], row["status"]) == ("client_disconnected", False, 499)
    assert row["completion_tokens"] == billed["completion_tokens"] == 180
    assert await drift(caller) == []
