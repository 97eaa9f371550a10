"""`litemaas ledger …`: output, exit code and error messages."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import CommandLine, CommandResult
from conftest import Database
from usage_rows import TODAY, make_usage_row, write_rows

from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.journal import Journal
from gateway.storage.ledger.journal_lines import encode_row, line_of
from gateway.storage.postgres import Pool

DAY = f"{TODAY:%Y-%m-%d}"


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


@pytest.fixture
async def rows(pool: Pool) -> list[UsageRow]:
    made = [make_usage_row(TODAY + timedelta(seconds=n)) for n in range(3)]
    await write_rows(pool, made)
    return made


def log_of(rows: list[UsageRow], file: Path, *, tokens: int = 6) -> Path:
    """As LiteLLM writes it."""
    calls = [
        {
            "litellm_call_id": str(row.request_id), "status": "success", "model_group": "small",
            "prompt_tokens": row.prompt_tokens, "completion_tokens": tokens, "response_cost": 0.000023,
        }
        for row in rows
    ]  # fmt: skip
    file.write_text("".join(json.dumps(call) + "\n" for call in calls))
    return file


async def at_once(command_line: CommandLine, *commands: str) -> list[CommandResult]:
    return await asyncio.gather(*(command_line.run("ledger", *command.split()) for command in commands))


# --- what it does ---


async def test_differing_sums_are_found_rebuilt_and_verified(
    command_line: CommandLine, pool: Pool, rows: list[UsageRow]
) -> None:
    agreeing, as_json = await at_once(command_line, "verify", "verify --days 3 --json")
    await pool.execute("UPDATE usage_days SET completion_tokens = completion_tokens + 1")

    differing = await command_line.run("ledger", "verify")
    reported = await command_line.run("ledger", "verify", "--json")
    rebuilt = await command_line.run("ledger", "rebuild-rollups", "--from", DAY, "--to", DAY)
    after = (await command_line.run("ledger", "verify", "--json")).json()

    assert (agreeing.code, agreeing.err) == (0, "")
    assert agreeing.out == "3 rows, 0 of them reaped; 0 differences from the rollups.\n"
    assert as_json.json() == {"agrees": True, "rows": 3, "reaped": 0, "differences": []}
    assert (differing.code, differing.err) == (1, "")
    assert differing.out.splitlines()[0] == "3 rows, 0 of them reaped; 1 differences from the rollups."
    assert differing.out.splitlines()[1].startswith(f"{DAY} account 1 model 1: ")
    assert reported.code == 1
    (difference,) = json.loads(reported.out)["differences"]
    assert (difference["day"], difference["account_id"], difference["model_id"]) == (DAY, 1, 1)
    assert set(json.loads(difference["sums"])) == {"rows", "usage_days"}
    assert (rebuilt.code, rebuilt.out) == (0, "The rollups of 1 days were rebuilt.\n")
    assert after["agrees"]


async def test_a_rebuild_ends_today_by_default(command_line: CommandLine, rows: list[UsageRow]) -> None:
    first = f"{TODAY - timedelta(days=2):%Y-%m-%d}"

    assert (await command_line.run("ledger", "rebuild-rollups", "--from", first, "--json")).json() == {"days": 3}


async def test_status_shows_journals_months_and_rejected_rows(
    command_line: CommandLine, pool: Pool, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal", max_bytes=2**20)
    assert journal.open()
    journal.append([make_usage_row(TODAY)])
    (tmp_path / "journal" / "refused.log").write_bytes(b"something\n")

    said = await command_line.run("ledger", "status", "--state-dir", str(tmp_path))
    reported = (await command_line.run("ledger", "status", "--json", LITEMAAS_STATE_DIR=str(tmp_path))).json()

    assert (said.code, said.err) == (0, "")
    assert journal.worker in said.out
    assert "1 rows are waiting; 1 were rejected by Postgres and set aside." in said.out
    assert f"usage_logs_{TODAY:%Y%m}" in said.out
    assert [(one["worker"], one["alive"], one["rows"]) for one in reported["journals"]] == [(journal.worker, True, 1)]
    assert (reported["rows_waiting"], reported["refused"], reported["kept_from"]) == (1, 1, None)
    assert len(reported["partitions"]) == 5
    journal.close()


async def test_a_file_of_rows_is_replayed_with_a_report(
    command_line: CommandLine, pool: Pool, rows: list[UsageRow], tmp_path: Path
) -> None:
    new, bad = make_usage_row(TODAY), make_usage_row(TODAY, error_code="a\0b")
    file = tmp_path / "refused.log"
    whole = b"".join(line_of(encode_row(row)) for row in (rows[0], new, bad)) + b"no row\n"
    file.write_bytes(whole)

    kept = await command_line.run("ledger", "replay", str(file), "--keep")
    assert file.read_bytes() == whole
    done = await command_line.run("ledger", "replay", str(file), "--json")
    left = file.read_bytes()
    file.write_bytes(line_of(encode_row(rows[0])))
    agreeing = await command_line.run("ledger", "replay", str(file))

    said = "1 rows written, 0 estimates replaced, 1 already in the ledger; 1 rejected, 1 damaged lines."
    assert (kept.code, kept.err, kept.out.splitlines()[0]) == (1, "", said)
    reported = json.loads(done.out)
    assert (done.code, reported["written"], reported["known"], len(reported["refused"]), reported["damaged"]) == (
        1,
        0,
        2,
        1,
        1,
    )
    assert left == line_of(encode_row(bad)) + b"no row\n"
    assert agreeing.code == 0
    assert not file.exists()
    assert await pool.fetchval("SELECT count(*) FROM usage_logs") == 4


async def test_the_exit_code_of_reconcile_depends_on_its_result(
    command_line: CommandLine, pool: Pool, rows: list[UsageRow], tmp_path: Path
) -> None:
    same, longer = log_of(rows, tmp_path / "same.jsonl"), log_of(rows, tmp_path / "longer.jsonl", tokens=7)
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(same.read_bytes() + b'{"litellm_ca')
    tomorrow = f"{TODAY + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"

    agreeing, differing, unreadable, nothing = await at_once(
        command_line,
        f"reconcile --litellm-log {same} --json",
        f"reconcile --litellm-log {longer} --limit 1",
        f"reconcile --litellm-log {torn}",
        f"reconcile --litellm-log {same} --since {tomorrow} --json",
    )

    counts = agreeing.json()["counts"]
    assert {name: count["calls"] for name, count in counts.items()} == {"same": 3}
    assert (differing.code, differing.err) == (1, "")
    assert "different: 3 calls; ledger 51 tokens, 0.000069 USD; LiteLLM 54 tokens, 0.000069 USD." in differing.out
    assert differing.out.count(" small ") == 1
    assert (unreadable.code, unreadable.out.splitlines()[0][:7]) == (1, "4 lines")
    assert "1 unreadable." in unreadable.out
    assert nothing.json()["counts"] == {}


# --- mistakes ---

LAST_YEAR = f"{TODAY - timedelta(days=400):%Y-%m-%d}"

WRONG = {
    "verify --days 0": "days must be a number from 1 to 36500. (validation_failed)",
    "rebuild-rollups --from 2027-13-01": "from must be a date, e.g. 2027-01-31. (validation_failed)",
    "rebuild-rollups --from 2027-01": "from must be a date, e.g. 2027-01-31. (validation_failed)",
    f"rebuild-rollups --from {DAY} --to yesterday": "to must be a date, e.g. 2027-01-31. (validation_failed)",
    f"rebuild-rollups --from {DAY} --to {LAST_YEAR}": "to must not be earlier than from. (validation_failed)",
    f"rebuild-rollups --from 1900-01-01 --to {DAY}": "A rebuild is limited to 36500 days. (validation_failed)",
    "replay /nowhere/refused.log": "/nowhere/refused.log cannot be read or changed: No such file or directory. ",
    "replay {folder}": "{folder} cannot be read or changed: Is a directory. (validation_failed)",
    "status --state-dir {file}": "{file} is not a folder. (validation_failed)",
    "reconcile --litellm-log {file} --since sometime": "since must be a date (2026-11-01), a month (2026-11), ",
    "reconcile --litellm-log {file} --since 2027-01-31 --time-zone Mars": "time_zone must be an IANA name",
    "reconcile --litellm-log {file} --since 2027-02-01T00:00:00Z --until 2027-01-01T00:00:00Z":
        "until must be later than since. (validation_failed)",
    "reconcile --litellm-log {file} --limit -1": "limit must be a number from 0 to 100000. (validation_failed)",
    "reconcile --litellm-log {file} --tolerance-nano-usd -1": "tolerance_nano_usd must be 0 or more. ",
}  # fmt: skip

# What is stored refuses: exit code 1.
REFUSED = {
    f"rebuild-rollups --from {LAST_YEAR} --to {DAY}": "The ledger has no rows before ",
    f"rebuild-rollups --from {DAY} --to 2099-01-31": "The ledger has no rows from ",
}

# What the command line itself refuses: exit code 2, and how the command is used.
MISTYPED = {
    "verify --days many": "Invalid value for '--days'",
    "rebuild-rollups": "Missing option '--from'",
    "replay": "Missing argument 'FILE'",
    "reconcile": "Missing option '--litellm-log'",
    "reconcile --litellm-log /nowhere.jsonl": "file '/nowhere.jsonl' does not exist",
    "reconcile --litellm-log {folder}": "file '{folder}' is a directory",
    "burn": "No such command 'burn'",
}


@pytest.mark.parametrize(
    ("commands", "code"), [(WRONG, 2), (REFUSED, 1), (MISTYPED, 2)], ids=["wrong", "refused", "mistyped"]
)
async def test_an_error_is_reported_and_changes_nothing(
    command_line: CommandLine, pool: Pool, rows: list[UsageRow], tmp_path: Path, commands: dict[str, str], code: int
) -> None:
    file = log_of(rows, tmp_path / "log.jsonl")
    places = {"{file}": str(file), "{folder}": str(tmp_path)}

    def filled(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, place)
        return text

    sums = await pool.fetch("SELECT * FROM usage_days")
    for command, expected in commands.items():
        done = await command_line.run("ledger", *filled(command).split())

        assert (done.code, done.out) == (code, ""), command
        assert filled(expected) in done.err, command
        if commands is not MISTYPED:
            assert done.err.startswith("litemaas: ")
            assert done.err.count("\n") == 1
    assert await pool.fetch("SELECT * FROM usage_days") == sums
    assert await pool.fetchval("SELECT count(*) FROM audit_logs") == 0


async def test_a_host_without_a_gateway_has_no_journals(command_line: CommandLine, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    done = await command_line.run("ledger", "status", "--state-dir", nowhere)
    reported = (await command_line.run("ledger", "status", "--json", LITEMAAS_STATE_DIR=nowhere)).json()

    assert (done.code, done.err) == (0, "")
    assert f"There is no {nowhere}/journal: journals are shown where a gateway runs, in its container." in done.out
    # As in the container of the admin API: it cannot say that no rows wait.
    assert "rows are waiting" not in done.out
    assert (reported["journals"], reported["rows_waiting"], reported["refused"]) == ([], None, None)


async def test_without_a_database_no_row_is_removed_from_a_file(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "refused.log"
    file.write_bytes(line := line_of(encode_row(make_usage_row(TODAY))))
    away = "postgresql://x:secret@127.0.0.1:1/x"

    commands = (("replay", str(file)), ("verify",), ("status",), ("rebuild-rollups", "--from", DAY))
    done = await asyncio.gather(
        *(command_line.run("ledger", *command, LITEMAAS_DATABASE_URL=away) for command in commands)
    )

    assert [one.code for one in done] == [1, 1, 1, 1]
    assert all("Postgres does not answer" in one.err and "secret" not in one.err for one in done)
    assert file.read_bytes() == line
