"""What a gateway learns from one account's calls changes nothing for another account (S2)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from callers import Caller, MakeCaller, chat_body
from gateways import StartGateway
from recording_upstream import RecordingUpstream

# About 560 tokens: it fits into 1,200 twice.
PROMPT = "word " * 400
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


def report(upstream: RecordingUpstream, prompt_tokens: int) -> None:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
    message = {"role": "assistant", "content": "x"}
    upstream.answer(json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}).encode())


async def post(caller: Caller, content: Any) -> int:
    body = chat_body("") | {"messages": [{"role": "user", "content": content}], "max_tokens": 10}
    headers = {"authorization": f"Bearer {caller.key}"}
    async with caller.http.post(f"{caller.url}/v1/chat/completions", json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("content", [[FILE], "short", [{"type": "text", "text": "short"}]])
async def test_s2_a_call_of_another_account_that_reports_many_tokens_changes_no_admission(
    content: Any, upstream: RecordingUpstream, start_gateway: StartGateway, make: MakeCaller
) -> None:
    gateway = start_gateway(litellm_urls=upstream.url)
    one, other = (await make()).at(gateway.url), (await make()).at(gateway.url)
    await one.remove_subscription_limits()
    await other.limit("tpm", 1200)
    await gateway.wait_for_changes(one.pool)

    report(upstream, 60_000)
    for _ in range(20):
        assert await post(one, content) == 200
    report(upstream, 500)

    assert await post(other, PROMPT) == 200


async def test_s2_a_call_that_fits_is_not_refused_as_too_large_for_what_was_learned_of_its_own_account(
    upstream: RecordingUpstream, start_gateway: StartGateway, make: MakeCaller
) -> None:
    gateway = start_gateway(litellm_urls=upstream.url)
    caller = (await make()).at(gateway.url)
    report(upstream, 2000)
    for _ in range(20):
        assert await post(caller, PROMPT) == 200
    await caller.limit("tpm", 1200)
    await gateway.wait_for_changes(caller.pool)

    assert await post(caller, PROMPT) == 200
