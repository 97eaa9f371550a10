"""D2 with the real LiteLLM, which encrypts the ids of responses, and differently each time."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from callers import Caller, MakeCaller
from gateways import Ledger, UpstreamLog

if TYPE_CHECKING:
    import openai

MODELS = ("demo-chat", "demo-chat-large")


@pytest.fixture
async def callers(make: MakeCaller) -> tuple[Caller, Caller]:
    return await make(*MODELS), await make(*MODELS)


@pytest.fixture
def clients(callers: tuple[Caller, Caller]) -> Iterator[list["openai.OpenAI"]]:
    import openai

    with ExitStack() as stack:
        yield [
            stack.enter_context(openai.OpenAI(base_url=f"{one.url}/v1", api_key=one.key, max_retries=0, timeout=30))
            for one in callers
        ]


def converse(owner: "openai.OpenAI") -> None:
    """As applications do: each step has the id that the step before gave."""
    first = owner.responses.create(model="demo-chat", input="One [tokens=5]")
    found = owner.responses.retrieve(first.id)
    assert (found.id, found.output_text) == (first.id, first.output_text)
    second = owner.responses.create(model="demo-chat-large", input="Two [tokens=3]", previous_response_id=found.id)
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens
    events = list(owner.responses.create(model="demo-chat", input="3", previous_response_id=second.id, stream=True))
    created, completed = events[0], events[-1]
    assert created.type == "response.created"
    assert completed.type == "response.completed"
    assert created.response.id == completed.response.id
    owner.responses.cancel(created.response.id)
    owner.responses.delete(created.response.id)


async def test_d2_a_conversation_and_its_responses_are_the_accounts_own(
    clients: list["openai.OpenAI"], callers: tuple[Caller, Caller], ledger: Ledger, upstream_log: UpstreamLog
) -> None:
    import openai

    owner, other = clients
    await asyncio.to_thread(converse, owner)
    stored = await asyncio.to_thread(owner.responses.create, model="demo-chat", input="Mine [tokens=5]")
    sent = await upstream_log.count()

    for name in (stored.id, stored.id.rstrip("="), stored.id + "="):
        for attempt in (
            lambda name=name: other.responses.create(model="demo-chat", input="x", previous_response_id=name),
            lambda name=name: other.responses.retrieve(name),
            lambda name=name: other.responses.input_items.list(name),
            lambda name=name: other.responses.cancel(name),
            lambda name=name: other.responses.delete(name),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                await asyncio.to_thread(attempt)
            assert refused.value.code == "response_not_found"
    assert await upstream_log.count() == sent
    rows = await ledger.rows(callers[0].account_id, 7)
    assert [row["endpoint"] for row in rows].count("stored_responses") == 3
    await ledger.rows(callers[1].account_id, 0)


async def test_d2_all_pages_of_the_input_are_read(clients: list["openai.OpenAI"]) -> None:
    owner = clients[0]
    items = [{"role": "user", "content": f"Item {n} [tokens=2]"} for n in range(5)]

    def read() -> list[str]:
        stored = owner.responses.create(model="demo-chat", input=items)  # type: ignore[arg-type]
        return [str(item.id) for item in owner.responses.input_items.list(stored.id, limit=2, order="asc")]

    assert await asyncio.to_thread(read) == [f"item_{n}" for n in range(5)]
