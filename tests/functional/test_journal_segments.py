"""The journal goes on in a new file while the one before is being written to Postgres."""

import pytest
from callers import MakeCaller
from gateways import Ledger, StartGateway

from gateway.metrics import LEDGER_BATCHES
from gateway.storage.ledger import journal


async def test_a_file_that_is_full_while_it_is_written_is_no_error(
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
