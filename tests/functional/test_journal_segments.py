"""The journal continues in a new segment while the previous one is written to Postgres."""

import pytest
from callers import MakeCaller
from gateways import Ledger, StartGateway

from gateway.metrics import LEDGER_BATCHES
from gateway.storage.ledger import journal


async def test_a_segment_that_fills_up_during_a_write_is_no_error(
    make: MakeCaller, start_gateway: StartGateway, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
    gateway = start_gateway()
    caller = (await make()).at(gateway.url)
    failed = LEDGER_BATCHES.labels("failed")._value
    before = failed.get()

    for _ in range(5):
        await caller.chats(40, "Hello [tokens=1]")

    await ledger.rows(caller.account_id, 200)
    assert failed.get() == before
