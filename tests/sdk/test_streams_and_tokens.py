"""What users of SDKs read from answers that come: text, tokens, streams."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from gateways import Ledger

from sdk.calls import SDKS, Sdk
from sdk.refusals import Scene, spent_requests

if TYPE_CHECKING:
    from sdk.clients import Clients

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)
by_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)


@by_sdk
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_sdk_reads_the_text_and_the_tokens_that_are_charged(
    sdk: Sdk, stream: bool, scene: Scene, clients: "Clients", ledger: Ledger
) -> None:
    caller = await scene.make()
    asked = replace(scene.asked(caller), prompt="Hello [tokens=12]", stream=stream)

    seen = await clients.ask(sdk.name, asked)

    row = await ledger.row(caller.account_id)
    assert (seen.error, len((seen.text or "").split())) == (None, 12)
    assert (seen.prompt_tokens, seen.completion_tokens) == (row["prompt_tokens"], row["completion_tokens"])


@by_sdk
async def test_a_stream_that_is_refused_raises_as_a_whole_answer_does(
    sdk: Sdk, scene: Scene, clients: "Clients"
) -> None:
    async with spent_requests(scene) as asked:
        seen = await clients.ask(sdk.name, replace(asked, stream=True))

    assert (seen.error, seen.code, scene.wire.tries) == (sdk.errors[429], "insufficient_quota", 1)


@by_sdk
async def test_the_message_an_sdk_shows_says_who_refuses_and_when_it_ends(
    sdk: Sdk, scene: Scene, clients: "Clients"
) -> None:
    async with spent_requests(scene) as asked:
        seen = await clients.ask(sdk.name, asked)

    assert "The gateway (not the model) refuses this call: the limit of 1 requests per day" in seen.message
    assert "It resets at " in seen.message
