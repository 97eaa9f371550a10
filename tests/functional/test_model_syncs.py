"""No result of a model sync stops a working key of a model that LiteLLM still has, checked through a gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from callers import Caller, MakeCaller
from factories import ADMIN
from loopback_servers import LiteLLMInfoServer
from pydantic import SecretStr

from admin_api.operations.models.sync import LiteLLM, SyncReport, sync_models
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

Entry = dict[str, Any]


class Served:
    """LiteLLM's list of models, as it is in the database; `sync` syncs a changed one."""

    def __init__(self, pool: Pool, server: LiteLLMInfoServer, entries: list[Entry]) -> None:
        self._pool, self._server, self.entries = pool, server, entries

    async def sync(self, entries: list[Entry], *, accept_missing: bool = False) -> SyncReport:
        self._server.answer(json.dumps({"data": entries}))
        asked = LiteLLM(urls=[self._server.url], api_key=SecretStr(LiteLLMInfoServer.KEY))
        report = await sync_models(self._pool, ADMIN, asked, accept_missing=accept_missing)
        assert report is not None
        return report

    async def fail(self) -> None:
        self._server.answer("broken", status=500)
        asked = LiteLLM(urls=[self._server.url], api_key=SecretStr(LiteLLMInfoServer.KEY))
        with pytest.raises(GatewayError):
            await sync_models(self._pool, ADMIN, asked)

    def without(self, *names: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["model_name"] not in names]


@pytest.fixture
async def served(pool: Pool, litellm_info_server: LiteLLMInfoServer) -> AsyncIterator[Served]:
    rows = await pool.fetch("SELECT * FROM models WHERE listed ORDER BY id")
    entries = [
        {
            "model_name": row["name"],
            "model_info": {
                "litellm_provider": row["provider"],
                "mode": row["mode"],
                "max_input_tokens": row["max_input_tokens"],
                "max_output_tokens": row["max_output_tokens"],
            },
        }
        for row in rows
    ]
    yield Served(pool, litellm_info_server, entries)
    # Restores the list for the next tests.
    await Served(pool, litellm_info_server, entries).sync(entries, accept_missing=True)


async def works(caller: Caller) -> bool:
    return (await caller.chat()).status == 200


async def test_an_empty_failed_or_halved_model_list_stops_no_key(caller: Caller, served: Served) -> None:
    half = served.entries[: len(served.entries) // 2]
    missing = [entry["model_name"] for entry in served.entries[len(half) :]]
    assert await works(caller)

    empty = await served.sync([])
    after_empty = await works(caller)
    await served.fail()
    after_failure = await works(caller)
    halved = await served.sync(served.without("demo-chat", *missing))

    assert (after_empty, after_failure, await works(caller)) == (True, True, True)
    assert empty.problem is not None
    assert halved.problem is not None
    assert halved.unlisted == []


async def test_a_model_that_disappears_is_refused_until_it_returns(caller: Caller, served: Served) -> None:
    gone = await served.sync(served.without("demo-chat"))
    while_gone = await works(caller)
    back = await served.sync(served.entries)

    assert (gone.unlisted, back.returned) == (["demo-chat"], ["demo-chat"])
    assert (while_gone, await works(caller)) == (False, True)


async def test_several_deployments_slashes_modes_and_missing_data_stop_no_key(
    make: MakeCaller, caller: Caller, pool: Pool, served: Served
) -> None:
    other: list[Entry] = [
        {"model_name": "demo-chat", "model_info": {"mode": "chat", "litellm_provider": "openai"}},
        {"model_name": "acme/other/large"},
        {"model_name": "acme/embed", "model_info": {"mode": "embedding"}},
        {"model_name": "acme/rerank", "model_info": {"mode": "rerank", "max_input_tokens": "many"}},
        {"model_name": None, "model_info": None},
        {"model_name": "acme/*"},
    ]

    report = await served.sync(served.entries + other)
    slashed = await make("acme/other/large")
    answer = await slashed.get("/v1/models")

    names = ["acme/other/large", "acme/embed", "acme/rerank"]
    found = await pool.fetch(
        "SELECT mode, max_input_tokens, provider FROM models WHERE name = ANY($1) ORDER BY id", names
    )
    assert report.added == names
    assert [tuple(row) for row in found] == [(None, None, None), ("embedding", None, None), ("rerank", None, None)]
    assert await pool.fetchval("SELECT deployments FROM models WHERE name = 'demo-chat'") == 2
    assert [model["id"] for model in answer.json["data"]] == ["acme/other/large"]
    assert await works(caller)
