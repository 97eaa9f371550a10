"""`make chaos` in short: one load, many faults one after another, three counts that agree."""

from pathlib import Path

import pytest
from chaos.faults import SHORT, measure
from chaos.site import opened


@pytest.mark.timeout(180)
async def test_whatever_breaks_each_call_is_in_the_ledger_once(tmp_path: Path) -> None:
    async with opened(tmp_path, has_litellm=False) as site:
        line = await measure(site, SHORT, "many of them, one after another")

    assert line.calls > 100
    assert line.reaped > 0
    assert (line.missing, line.doubles, line.tokens_off, line.others, line.failed) == (0,) * 5, line.details
    # Each of both losses of Redis may take what was under way and what was on its way into the ledger.
    assert abs(line.drift) < line.calls / 4
