"""D17: the caller's own id of a request is kept beside ours, and calls are found by it."""

import asyncio
import io
import json

import pytest
from callers import CHAT, Caller, MakeCaller, chat_body
from gateways import Backends, Ledger, RedisState, StartGateway, wait_until
from realtime_sessions import open_realtime

from gateway.domain.ids import MAX_CLIENT_ID, read_client_request_id
from gateway.storage.counters.layout import Lease
from gateway.storage.ledger.reaped_rows import estimated_row

LONGEST = "i" * MAX_CLIENT_ID
OURS, PROXYS = "x-client-request-id", "x-request-id"
SENT = {
    "the client's": ([(OURS, "order-17")], "order-17"),
    "a proxy's": ([(PROXYS, "7f3c/9+=")], "7f3c/9+="),
    "the client's goes first": ([(PROXYS, "proxy"), (OURS, "mine")], "mine"),
    "in any order": ([(OURS, "mine"), (PROXYS, "proxy")], "mine"),
    "the longest": ([(OURS, LONGEST)], LONGEST),
    "with spaces in it": ([(OURS, "  order 17 of May ")], "order 17 of May"),
    "a formula": ([(OURS, "=1+1")], "=1+1"),
    "none": ([], None),
    "an empty one": ([(OURS, "")], None),
    "too long": ([(OURS, LONGEST + "i")], None),
    "not printable": ([(OURS, "a\tb")], None),
    "not ASCII": ([(OURS, "bestellung-ü")], None),
    "with a key in it": ([(OURS, "key=sk-lm-0123456789")], None),
    "too long, and a proxy's": ([(OURS, LONGEST + "i"), (PROXYS, "proxy")], "proxy"),
}


@pytest.mark.parametrize("name", SENT)
async def test_d17_the_id_is_in_the_row(name: str, caller: Caller, ledger: Ledger) -> None:
    headers, kept = SENT[name]

    response = await caller.chat(headers=dict(headers))

    row = await ledger.row(caller.account_id)
    assert row["client_request_id"] == kept
    # Ours stays ours.
    assert response.request_id == str(row["request_id"])


@pytest.mark.parametrize("value", [b"\x00", b"a\x7f", b"a\nb", b"\xff", b" ", "é".encode()])
def test_d17_what_is_not_printable_is_no_id(value: bytes) -> None:
    assert read_client_request_id(value) is None


async def test_d17_the_id_is_in_the_log_line_of_every_call(
    caller: Caller, start_gateway: StartGateway, backends: Backends
) -> None:
    running = start_gateway(access_log=True, state_dir=backends.folder / "client-ids")
    access_log = running.apps[0].worker.access_log
    access_log._out = out = io.BytesIO()
    headers = {OURS: "find-me"}

    await caller.at(running.url).chat(headers=headers)
    await caller.at(running.url).chat(headers=headers, model="no-such-model")
    async with caller.http.post(running.url + CHAT, json=chat_body(), headers=headers) as answer:
        assert answer.status == 401
    async with caller.http.get(running.url + "/v1/models", headers={**caller.authorization, **headers}) as answer:
        assert answer.status == 200

    async def are_written() -> bool:
        return out.getvalue().count(b"\n") >= 4

    await wait_until(are_written, "four lines")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["status"], line["client_request_id"]) for line in lines] == [
        (200, "find-me"), (404, "find-me"), (401, "find-me"), (200, "find-me"),
    ]  # fmt: skip


async def test_d17_a_session_has_the_id_too(make: MakeCaller, ledger: Ledger) -> None:
    caller = await make("demo-realtime")
    async with open_realtime(caller, headers={**caller.authorization, OURS: "talk-1"}) as session:
        await session.receive()

    assert (await ledger.row(caller.account_id))["client_request_id"] == "talk-1"


async def test_d17_the_row_of_a_call_whose_gateway_died_has_the_id(caller: Caller, redis_state: RedisState) -> None:
    slow = asyncio.ensure_future(caller.chat("Hello [delay=1]", headers={OURS: LONGEST}))
    notes: list[bytes] = []

    async def is_open() -> bool:
        fields = await redis_state.everything(caller.account_id)
        notes.extend(value.rpartition(b"\0")[2] for name, value in fields.items() if name.startswith(b"l|"))
        return bool(notes)

    await wait_until(is_open, "the call to begin")
    (request_id,) = await redis_state.open_leases(caller.account_id)
    lease = Lease(
        request_id=request_id, start_ms=0, prompt_tokens=1, completion_tokens=1, nano_usd=0, note=notes[0]
    )  # fmt: skip

    assert estimated_row(caller.account_id, lease).client_request_id == LONGEST
    await slow
