"""Exports as a spreadsheet of another language opens them, by HTTP and by command (A12)."""

import csv
import io
from datetime import timedelta
from decimal import Decimal

import httpx2
import pytest
from admin_client import check_error
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_model, make_user
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.people import teams
from gateway.storage.postgres import Pool

USAGE = "/api/v1/usage/export"
AUDIT = "/api/v1/admin/audit/export"
NAME = "=1;2,5"
FORMATS = {"en": (",", "."), "es": (";", ","), "fr": (";", ","), "es-MX": (",", ".")}


@pytest.fixture
async def used(pool: Pool) -> None:
    """Two calls that cost 1.5 and 0.000000001 USD, of a user whose name is a formula with both separators."""
    user = await make_user(pool, "ana@example.org")
    team = await teams.create_team(pool, ADMIN, name=NAME)
    await make_model(pool, "small")
    model = await pool.fetchval("SELECT id FROM models")
    about = {"account_id": team.id, "user_id": user.id, "model_id": model}
    costs = (1_500_000_000, 1)
    await write_rows(pool, [make_usage_row(TODAY - timedelta(hours=1), **about, cost_nano_usd=cost) for cost in costs])


def cells_of(text: str, separator: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))


@pytest.mark.parametrize("locale", FORMATS)
@pytest.mark.parametrize("detail", ["days", "calls"])
async def test_a12_a_spreadsheet_of_the_locale_reads_numbers_and_names(
    pool: Pool, used: None, admin: httpx2.AsyncClient, locale: str, detail: str
) -> None:
    separator, sign = FORMATS[locale]

    file = await admin.get(USAGE, params={"locale": locale, "detail": detail})
    plain = await admin.get(USAGE, params={"detail": detail})

    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.content.startswith(b"\xef\xbb\xbf")
    assert not plain.content.startswith(b"\xef\xbb\xbf")
    lines, expected = cells_of(file.content.decode("utf-8-sig"), separator), cells_of(plain.text, ",")
    assert [line["cost_usd"] for line in lines] == [line["cost_usd"].replace(".", sign) for line in expected]
    assert sum(Decimal(line["cost_usd"].replace(sign, ".")) for line in lines) == Decimal("1.500000001")
    for line in lines:
        line["cost_usd"] = line["cost_usd"].replace(sign, ".")
    assert lines == expected
    assert {line["account"] for line in lines} == {f"'{NAME}"}


async def test_a12_focus_and_json_are_the_same_in_every_locale(
    pool: Pool, used: None, admin: httpx2.AsyncClient
) -> None:
    until = TODAY.isoformat()
    for file_format in ("focus", "json"):
        files = {
            locale: (await admin.get(USAGE, params={"format": file_format, "until": until, **more})).content
            for locale, more in {"": {}, "es": {"locale": "es"}, "fr": {"locale": "fr"}}.items()
        }
        assert len(set(files.values())) == 1
        assert not files["es"].startswith(b"\xef\xbb\xbf")
        assert b"1.500000001" in files["es"]


async def test_a12_the_audit_log_and_the_commands_know_it_too(
    database: Database, pool: Pool, used: None, admin: httpx2.AsyncClient
) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})

    for path, command in ((USAGE, "usage"), (AUDIT, "audit")):
        file = await admin.get(path, params={"locale": "es"})
        done = await command_line.run(command, "export", "--locale", "es")
        refused = await command_line.run(command, "export", "--locale", "klingon")

        assert done.code == 0, done.err
        assert done.out.startswith("\ufeff")
        assert done.out.splitlines()[0] == file.text.splitlines()[0]
        assert cells_of(file.text.removeprefix("\ufeff"), ";")[0].keys() >= {
            "account" if command == "usage" else "actor"
        }
        assert (refused.code, "locale must be a language" in refused.err) == (2, True)
        check_error(await admin.get(path, params={"locale": "klingon"}), 422, "validation_failed")
