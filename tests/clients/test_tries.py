"""How often a client that may retry twice asks, refusal by refusal, and what it then returns or raises."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from clients.catalogue import TRIED
from clients.client import Client
from clients.programs import Programs
from clients.refusals import REFUSALS, Refusal, Scene, spent_requests
from clients.table import cell

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)
# Timers may fire a little early.
EARLY_S = 0.01
by_client = pytest.mark.parametrize("client", TRIED, ids=lambda client: client.name)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.name.replace(" ", "_"))
@by_client
async def test_a_client_retries_only_if_that_may_help_and_obeys_retry_after(
    refusal: Refusal, client: Client, scene: Scene, programs: Programs, record_property: Callable[[str, object], None]
) -> None:
    async with refusal.arrange(scene) as task:
        seen = await programs.do(client, task)

    wire = scene.wire_of(task)
    shown = cell(wire.tries, seen.error)
    for name, value in (("table", "tries"), ("row", refusal.row), ("column", client.name), ("cell", shown)):
        record_property(name, value)
    assert wire.tries == refusal.tries, (seen, wire.stated_s)
    if refusal.is_answered:
        assert (seen.error, bool(seen.text)) == (None, True)
    else:
        assert (seen.error, seen.status, seen.code) == (client.errors[refusal.status], refusal.status, refusal.code)
    if refusal.wait_s is None:
        assert wire.stated_s == []
    else:
        least, maximum = refusal.wait_s
        assert len(wire.stated_s) == wire.tries - refusal.is_answered
        assert all(least <= reported <= maximum for reported in wire.stated_s), wire.stated_s
    assert all(pause >= reported - EARLY_S for pause, reported in zip(wire.pauses_s, wire.stated_s, strict=False))


@by_client
async def test_a_stream_that_is_refused_raises_as_a_whole_answer_does(
    client: Client, scene: Scene, programs: Programs
) -> None:
    async with spent_requests(scene) as task:
        seen = await programs.do(client, replace(task, name="stream"))

    assert (seen.error, seen.code, scene.wire.tries) == (client.errors[429], "insufficient_quota", 1)


@by_client
async def test_the_message_a_client_shows_has_the_refusing_gateway_and_the_reset(
    client: Client, scene: Scene, programs: Programs
) -> None:
    async with spent_requests(scene) as task:
        seen = await programs.do(client, task)

    assert "The gateway (not the model) refuses this call: the limit of 1 requests per day" in seen.message
    assert "It resets at " in seen.message
