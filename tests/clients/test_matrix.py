"""Each client at each task. `make test` runs the clients of SHORT, `make clients` all of them."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from gateways import Ledger, UpstreamLog

from clients.catalogue import CLIENTS, SHORT
from clients.checks import CHECKS, Trial
from clients.client import Client
from clients.programs import Programs
from clients.refusals import Scene
from clients.tasks import RARE_TASKS, TASKS

# The first test's time includes LiteLLM's start, which is long on a busy machine.
pytestmark = pytest.mark.timeout(300)

CHOSEN: Final = CLIENTS if os.environ.get("LITEMAAS_TEST_CLIENTS") == "all" else SHORT


def cells() -> Iterator[Any]:
    for client in CHOSEN:
        for task in TASKS:
            if client.does(task):
                yield pytest.param(client, task, id=f"{client.name}-{task}")


@pytest.mark.parametrize(("client", "task"), list(cells()))
async def test_a_client_does_it(
    client: Client, task: str, scene: Scene, programs: Programs, ledger: Ledger, upstream_log: UpstreamLog,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    cell = await CHECKS[task](Trial(client, task, scene, programs, ledger, upstream_log))

    for name, value in (("table", "matrix"), ("row", client.name), ("column", task), ("cell", cell)):
        record_property(name, value)


def test_every_task_has_a_check() -> None:
    assert CHECKS.keys() == TASKS.keys()
    assert TASKS.keys() >= RARE_TASKS
    assert all(client.lacks.keys() <= TASKS.keys() - RARE_TASKS for client in CLIENTS)
