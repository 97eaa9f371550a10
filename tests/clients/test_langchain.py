"""LangChain's retries beyond those of the OpenAI SDK in it."""

from dataclasses import replace

import pytest

from clients.catalogue import BY_NAME
from clients.programs import Programs
from clients.refusals import Scene, spent_requests

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)


async def test_with_retry_asks_again_though_a_spent_quota_says_not_to(scene: Scene, programs: Programs) -> None:
    client = BY_NAME["langchain-openai"]
    # It goes by the class of the exception: the page warns of it.
    async with spent_requests(scene) as task:
        seen = await programs.do(client, replace(task, name="with_retry"))

    assert (seen.error, scene.wire.tries) == (client.errors[429], 2)
