"""How often an SDK that may retry twice asks, refusal by refusal, and what its user then has in hand."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sdk.calls import SDKS, Sdk
from sdk.refusals import REFUSALS, Refusal, Scene
from sdk.table import cell

if TYPE_CHECKING:
    from sdk.clients import Clients

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)
# Timers may fire a little early.
EARLY_S = 0.01


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name.replace(" ", "_"))
@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
async def test_an_sdk_tries_again_only_where_that_may_help_and_waits_as_told(
    refusal: Refusal, sdk: Sdk, scene: Scene, clients: "Clients", record_property: Callable[[str, object], None]
) -> None:
    async with refusal.arrange(scene) as asked:
        seen = await clients.ask(sdk.name, asked)

    wire = scene.wire_of(asked)
    record_property("row", refusal.row)
    record_property("column", sdk.title)
    record_property("cell", cell(wire.tries, seen.error))
    assert wire.tries == refusal.tries, (seen, wire.stated_s)
    if refusal.is_answered:
        assert (seen.error, bool(seen.text)) == (None, True)
    else:
        assert (seen.error, seen.status, seen.code) == (sdk.errors[refusal.status], refusal.status, refusal.code)
    if refusal.wait_s is None:
        assert wire.stated_s == []
    else:
        least, maximum = refusal.wait_s
        assert len(wire.stated_s) == wire.tries - refusal.is_answered
        assert all(least <= reported <= maximum for reported in wire.stated_s), wire.stated_s
    assert all(pause >= reported - EARLY_S for pause, reported in zip(wire.pauses_s, wire.stated_s, strict=False))
