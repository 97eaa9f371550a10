"""LangChain's retries beyond those of the OpenAI SDK in it."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from sdk.refusals import Scene, spent_requests

if TYPE_CHECKING:
    from sdk.calls import Asked
    from sdk.clients import Clients


# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)


async def test_with_retry_asks_again_though_a_spent_quota_says_not_to(scene: Scene, clients: "Clients") -> None:
    # It goes by the class of the exception: the page warns of it.
    async with spent_requests(scene) as asked:
        await asyncio.to_thread(invoke_with_retry, asked)

    assert scene.wire.tries == 2


def invoke_with_retry(asked: "Asked") -> None:
    import openai

    from sdk.clients import new_chat_model

    with new_chat_model(asked) as model:
        patient = model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        with pytest.raises(openai.RateLimitError):
            patient.invoke(asked.prompt)
