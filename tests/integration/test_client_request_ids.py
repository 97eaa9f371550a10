"""D17: calls are found by the id that their caller sent, over HTTP and by command; files have it."""

import csv
import io
import json

import httpx2
import pytest
from admin_client import check_error
from command_line import CommandLine
from conftest import Database
from factories import make_key
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.storage.usage.calls import LIST_USAGE_BY_CLIENT_ID, SUM_USAGE_BY_CLIENT_ID
from gateway.domain.usage_rows import UsageRow
from gateway.storage.postgres import Pool

USAGE = "/api/v1/usage"


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def write(pool: Pool, *ids: str | None, **about: int) -> list[UsageRow]:
    """A call for each id, oldest first."""
    rows = [make_usage_row(TODAY, client_request_id=one, **about) for one in ids]
    await write_rows(pool, rows)
    return rows


async def test_d17_calls_are_found_by_the_callers_id(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = (await make_key(pool)).row
    rows = await write(pool, "order-17", "other", "order-17", None, "order-170", api_key_id=key.id + 1)
    mine = await write(pool, "order-17", api_key_id=key.id, account_id=key.account_id)

    async def find(**asked: str | int) -> httpx2.Response:
        return await admin.get(USAGE, params={"client_request_id": "order-17", **asked})

    first = (await find(limit=2)).json()
    rest = (await find(limit=2, cursor=first["next_cursor"])).json()
    of_key = (await find(key=key.id)).json()

    found = [row["request_id"] for page in (first, rest) for row in page["rows"]]
    assert found == [str(row.request_id) for row in (mine[0], rows[2], rows[0])]
    assert {row["client_request_id"] for page in (first, rest) for row in page["rows"]} == {"order-17"}
    assert (first["totals"]["calls"], first["totals"]["total_tokens"]) == (3, 51)
    assert first["totals"]["cost_nano_usd"] == 3 * 23_000
    assert ([row["request_id"] for row in of_key["rows"]], of_key["totals"]["calls"]) == ([str(mine[0].request_id)], 1)
    assert (await find(client_request_id="nobody")).json()["totals"]["calls"] == 0
    check_error(await find(key=10**6), 404, "not_found")


@pytest.mark.parametrize("wrong", ["", " ", "i" * 129, "a\tb", "ü", "sk-lm-0123"])
async def test_d17_what_no_row_can_have_is_not_searched_for(wrong: str, admin: httpx2.AsyncClient) -> None:
    check_error(await admin.get(USAGE, params={"client_request_id": wrong}), 422, "validation_failed")


async def test_d17_the_command_finds_calls_too(command_line: CommandLine, pool: Pool) -> None:
    rows = await write(pool, "order-17", "other")

    found = (await command_line.run("usage", "show", "--client-request-id", "order-17", "--json")).json()

    assert [row["request_id"] for row in found["rows"]] == [str(rows[0].request_id)]
    assert (await command_line.run("usage", "show", "--client-request-id", "ü")).code == 2


async def test_d17_files_have_the_id_and_no_formula(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await write(pool, "order-17", "=1+1", None)

    asked = {"detail": "calls", "since": f"{TODAY:%Y-%m-%d}T00:00:00Z"}
    as_csv = (await admin.get(f"{USAGE}/export", params=asked)).text
    as_json = (await admin.get(f"{USAGE}/export", params={**asked, "format": "json"})).text

    assert sorted(line["client_request_id"] for line in csv.DictReader(io.StringIO(as_csv))) == [
        "",
        "'=1+1",
        "order-17",
    ]
    assert {line["client_request_id"] for line in json.loads(as_json)} == {None, "=1+1", "order-17"}


@pytest.mark.parametrize(
    ("sql", "arguments"),
    [(LIST_USAGE_BY_CLIENT_ID, ("order-17", None, None, 101)), (SUM_USAGE_BY_CLIENT_ID, ("order-17", None))],
    ids=["the list", "the totals"],
)
async def test_d17_the_search_goes_by_an_index(
    sql: str, arguments: tuple[object, ...], pool: Pool, database: Database
) -> None:
    rows = [make_usage_row(TODAY, client_request_id=f"order-{n}" if n % 3 else None) for n in range(3000)]
    await write_rows(pool, rows)
    await database.execute_as_owner("ANALYZE usage_logs")

    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {sql}", *arguments))

    # Months without rows are read as they are.
    month = f"usage_logs_{TODAY:%Y%m}"
    assert f"using {month}_client_request_id_request_id_idx on {month} " in plan
