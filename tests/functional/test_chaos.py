"""A short `make chaos`: one load, many faults in sequence, and three counts that agree."""

from pathlib import Path

import pytest
from chaos.faults import SHORT, measure
from chaos.site import opened


@pytest.mark.timeout(180)
async def test_each_call_is_in_the_ledger_once_whatever_fails(tmp_path: Path) -> None:
    async with opened(tmp_path, has_litellm=False) as site:
        line = await measure(site, SHORT, "many of them, one after another")

    assert line.calls > 100
    assert line.reaped > 0
    counts = (line.missing, line.doubles, line.tokens_off, line.others, line.failed, line.drift)
    assert counts == (0,) * 6, line.details
