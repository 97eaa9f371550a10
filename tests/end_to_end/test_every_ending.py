"""Every endpoint, streamed or not, in every way it may end: ledger, Redis and the model server's count agree."""

import asyncio
import time

import pytest
from callers import Caller, MakeCaller, new_mark
from gateways import Books, Ledger, until

from end_to_end.asking import (
    EMBEDDINGS,
    GENERATING,
    MODELS,
    Route,
    asked,
    assert_as_billed,
    data_of,
    ended,
    hung_up,
    opened,
)
from end_to_end.conftest import MeasureDrift

by_route = pytest.mark.parametrize("route", GENERATING, ids=lambda route: route.name)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(*MODELS)


@pytest.mark.parametrize(
    ("route", "stream"),
    [*((route, stream) for route in GENERATING for stream in (False, True)), (EMBEDDINGS, False)],
    ids=lambda value: value.name if isinstance(value, Route) else ("streamed" if value else "whole"),
)
async def test_a_completed_call_is_charged_what_was_billed(
    route: Route, stream: bool, caller: Caller, books: Books, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    said = await asked(caller, route, f"Hello there [tokens=17] [cached=2] [mark={mark}]", stream=stream)

    assert said.status == 200
    row, billed = await ledger.row(caller.account_id), await books.call(mark=mark)
    assert (row["endpoint"], row["streamed"], row["model_asked"]) == (route.name, stream, route.model)
    assert_as_billed(row, billed, tells_cost=not (route.name == "messages" and stream))
    assert await drift(caller) == []


@pytest.mark.parametrize(("fault", "status"), [("400", 400), ("401", 502), ("503", 503)])
@pytest.mark.parametrize(
    ("route", "stream"),
    [*((route, stream) for route in GENERATING for stream in (False, True)), (EMBEDDINGS, False)],
    ids=lambda value: value.name if isinstance(value, Route) else ("streamed" if value else "whole"),
)
async def test_a_call_the_model_refuses_costs_nothing(
    route: Route, stream: bool, fault: str, status: int, caller: Caller, books: Books, ledger: Ledger,
    drift: MeasureDrift,
) -> None:  # fmt: skip
    mark = new_mark()

    said = await asked(caller, route, f"Hello [fault={fault}] [mark={mark}]", stream=stream)

    assert said.status == status
    row, billed = await ledger.row(caller.account_id), await books.calls(mark=mark)
    assert {call["ending"] for call in billed} == {"refused"}
    assert {call["completion_tokens"] for call in billed} == {0}
    assert (row["endpoint"], row["ending"], row["status"]) == (route.name, "refused_upstream", status)
    assert (row["counted_requests"], row["counted_tokens"], row["counted_nano_usd"]) == (0, 0, 0)
    assert await drift(caller) == []


@by_route
@streamed_or_not
async def test_a_hang_up_before_the_first_byte_is_charged_no_less_than_was_billed(
    route: Route, stream: bool, caller: Caller, books: Books, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async def is_running() -> bool:
        return bool(await books.calls(mark=mark, ending="running"))

    call = asyncio.ensure_future(asked(caller, route, f"Wait [delay=2] [tokens=9] [mark={mark}]", stream=stream))
    await until(is_running, "the call at the model server")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    # At once, though LiteLLM may let the model go on to its end.
    row = await ledger.row(caller.account_id)
    assert await drift(caller) == []
    assert (row["endpoint"], row["ending"], row["status"]) == (route.name, "client_disconnected", 499)
    assert (row["estimated_why"], row["counted_requests"]) == ("hung_up", 1)
    billed = await ended(books, mark)
    assert row["completion_tokens"] >= billed["completion_tokens"]
    assert row["prompt_tokens"] > 0


@by_route
async def test_a_hang_up_within_a_stream_is_charged_what_passed_and_reaches_the_model(
    route: Route, caller: Caller, books: Books, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    async with opened(caller, route, f"Go on [tokens=150] [rate=50] [mark={mark}]", stream=True) as answer:
        for _ in range(20):
            await answer.content.readuntil(b"\n\n")
        hung_up_at = time.time()

    row = await ledger.row(caller.account_id)
    assert (row["endpoint"], row["ending"], row["estimated_why"]) == (route.name, "client_disconnected", "hung_up")
    assert await drift(caller) == []
    billed = await hung_up(books, mark, hung_up_at)
    # Some of the events that were read say nothing; some words are several tokens.
    assert 12 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert row["prompt_tokens"] > 0


@by_route
@pytest.mark.parametrize("fault", ["cut", "error-event"])
async def test_a_stream_that_is_cut_is_charged_what_passed(
    route: Route, fault: str, caller: Caller, books: Books, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()

    said = await asked(caller, route, f"Hello [tokens=30] [rate=60] [fault={fault}] [mark={mark}]", stream=True)

    assert said.status == 200
    assert any(b"error" in data for data in data_of(said.body)[-2:])
    row, billed = await ledger.row(caller.account_id), await books.call(mark=mark)
    assert (row["endpoint"], row["ending"], row["estimated_why"]) == (route.name, "upstream_error", "cut_off")
    assert billed["completion_tokens"] - 2 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    assert await drift(caller) == []


@by_route
async def test_a_whole_answer_that_is_cut_is_an_error_that_costs_nothing(
    route: Route, caller: Caller, ledger: Ledger, drift: MeasureDrift
) -> None:
    said = await asked(caller, route, "Hello [tokens=30] [fault=cut]")

    row = await ledger.row(caller.account_id)
    assert (said.status, row["ending"], row["counted_tokens"]) == (500, "refused_upstream", 0)
    assert await drift(caller) == []
