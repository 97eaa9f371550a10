"""ClickHouse's engine in a process of its own, and tables in it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from admin_api.storage.clickhouse.entries import STATE, TABLE, create_statements
from admin_api.storage.clickhouse.link import ClickHouse, ClickHouseAddress

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv-chdb" / "bin" / "python"


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("clickhouse")
    command = [PYTHON, "-P", ROOT / "tests" / "clickhouse" / "server.py", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        yield f"http://127.0.0.1:{port}"
        server.kill()


@pytest.fixture
async def clickhouse(clickhouse_url: str) -> AsyncIterator[ClickHouse]:
    """Empty tables."""
    clickhouse = ClickHouse(ClickHouseAddress(SecretStr(clickhouse_url)))
    for table in (TABLE, STATE):
        await clickhouse.command(f"DROP TABLE IF EXISTS {table}")
    for statement in create_statements():
        await clickhouse.command(statement)
    yield clickhouse
    await clickhouse.close()
    await asyncio.sleep(0)
