"""Provider keys: stored encrypted, never returned, and passed to a program in its environment."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from admin_client import SECRET_KEYS, check_error
from command_line import PROGRAM, CommandLine
from conftest import Database
from factories import ADMIN, READER, make_token, make_user

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.maintenance.secrets import rotate_secrets
from admin_api.operations.models.provider_keys import open_provider_keys
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/provider-keys"
VALUE, OTHER = "sk-planted-provider-key-0123456789", "sk-planted-another-key-9876543210"
KEYS = SecretKeys.parse(SECRET_KEYS)
# Prints the environment of the program.
TELL = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]


async def put(admin: httpx2.AsyncClient, name: str = "OPENAI", value: str = VALUE, **headers: str) -> httpx2.Response:
    return await admin.put(f"{PATH}/{name}", json={"provider": "openai", "value": value}, headers=headers)


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine(
        {
            "LITEMAAS_DATABASE_URL": database.app_url,
            "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
            "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
            "PATH": "/usr/bin:/bin",
            "OF_THE_PROGRAM": "stays",
        }
    )


async def test_a_provider_key_is_stored_encrypted_and_never_returned(admin: httpx2.AsyncClient, pool: Pool) -> None:
    made = await put(admin)
    again = await put(admin)
    replaced = await put(admin, value=OTHER)
    listed = await admin.get(PATH)
    one = await admin.get(f"{PATH}/OPENAI")

    assert [answer.status_code for answer in (made, again, replaced)] == [201, 200, 200]
    assert made.json() == again.json()
    assert one.json()["reference"] == "os.environ/PROVIDER_KEY_OPENAI"
    assert (one.json()["last_four"], one.json()["provider"]) == (OTHER[-4:], "openai")
    assert (one.json()["created_by"], one.json()["updated_by"]) == ("admin-token", "admin-token")
    assert listed.json()["rows"] == [one.json()]
    said = "".join(answer.text for answer in (made, again, replaced, listed, one))
    # All written data, in every encoding of the text.
    written = str(await pool.fetch("SELECT t::text FROM provider_keys t UNION ALL SELECT t::text FROM audit_logs t"))
    for value in (VALUE, OTHER):
        for form in (value[:-4], value[:-4].encode().hex()):
            assert form not in said + written
    audit = await pool.fetch("SELECT action, old::text, new::text FROM audit_logs ORDER BY id")
    reported = [
        (row["action"], json.loads(row["old"] or "null"), json.loads(row["new"] or "null"))
        for row in audit
        if row["action"].startswith("provider_key")
    ]
    first, second = ({"provider": "openai", "last_four": value[-4:]} for value in (VALUE, OTHER))
    assert reported == [("provider_key.put", None, first), ("provider_key.put", first, second)]


async def test_a_provider_key_is_replaced_or_deleted_only_at_the_read_version(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    tag = (await put(admin)).headers["etag"]
    read = (await admin.get(f"{PATH}/OPENAI")).headers["etag"]
    first = await put(admin, value=OTHER, **{"if-match": tag})
    stale = await put(admin, value=VALUE, **{"if-match": tag})
    stays = await admin.delete(f"{PATH}/OPENAI", headers={"if-match": tag})
    opened = await open_provider_keys(pool, ADMIN, KEYS)
    gone = await admin.delete(f"{PATH}/OPENAI", headers={"if-match": first.headers["etag"]})

    assert (read, first.status_code, gone.status_code) == (tag, 200, 204)
    for answer in (stale, stays):
        check_error(answer, 412, "precondition_failed")
    assert opened == {"PROVIDER_KEY_OPENAI": OTHER}
    check_error(await admin.get(f"{PATH}/OPENAI"), 404, "not_found")
    check_error(await admin.delete(f"{PATH}/OPENAI"), 404, "not_found")
    check_error(await put(admin, **{"if-match": "*"}), 412, "precondition_failed")


async def test_of_concurrent_requests_one_runs(admin: httpx2.AsyncClient, pool: Pool) -> None:
    answers = await asyncio.gather(*(put(admin, value=f"{VALUE}-{n:04}") for n in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert await pool.fetchval("SELECT count(*) FROM provider_keys") == 1
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'provider_key.put'") == 8


async def test_a_read_only_admin_sees_the_list_and_changes_nothing(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await put(admin)
    logins = {
        role: {"authorization": f"Bearer {(await make_token(pool, await make_user(pool, role=role))).secret}"}
        for role in ("admin-readonly", "user")
    }
    reader = logins["admin-readonly"]

    assert len((await admin.get(PATH, headers=reader)).json()["rows"]) == 1
    for answer in (
        await put(admin, value=OTHER, **reader),
        await admin.delete(f"{PATH}/OPENAI", headers=reader),
        await admin.get(PATH, headers=logins["user"]),
    ):
        check_error(answer, 403, "forbidden")
    with pytest.raises(GatewayError):
        await open_provider_keys(pool, READER, KEYS)
    assert await open_provider_keys(pool, ADMIN, KEYS) == {"PROVIDER_KEY_OPENAI": VALUE}


@pytest.mark.parametrize("name", ["openai", "1A", "A-B", "A B", "A=B", "A" * 64, "É", "_A", "A%0A", "A%00"])
async def test_a_name_that_could_be_another_variable_is_refused(admin: httpx2.AsyncClient, name: str) -> None:
    check_error(await put(admin, name), 422, "validation_failed")


@pytest.mark.parametrize(
    "value",
    ["", "short", "x" * 15, "x" * 8001, f" {VALUE}", f"{VALUE}\n", f"{VALUE}\nX", f"{VALUE}\x00", f"{VALUE}é",
     "os.environ/OPENAI_API_KEY"],
)  # fmt: skip
async def test_an_invalid_value_is_refused_without_repeating_it(
    admin: httpx2.AsyncClient, pool: Pool, value: str
) -> None:
    answer = await put(admin, value=value)

    check_error(answer, 422, "validation_failed")
    assert "planted" not in answer.text
    assert await pool.fetchval("SELECT count(*) FROM provider_keys") == 0


async def test_a_field_with_an_address_is_refused(admin: httpx2.AsyncClient) -> None:
    for field in ("api_base", "base_url", "url", "address"):
        body = {"provider": "openai", "value": VALUE, field: "http://127.0.0.1:1"}
        answer = await admin.put(f"{PATH}/OPENAI", json=body)
        check_error(answer, 422, "validation_failed")
        assert VALUE not in answer.text


async def test_a_ciphertext_moved_to_another_name_does_not_decrypt(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await put(admin)
    await pool.execute("UPDATE provider_keys SET name = 'OTHER'")

    with pytest.raises(EncryptionError, match="provider key OTHER"):
        await open_provider_keys(pool, ADMIN, KEYS)
    # A key that does not decrypt may be replaced.
    assert (await put(admin, "OTHER")).status_code == 200
    assert await open_provider_keys(pool, ADMIN, KEYS) == {"PROVIDER_KEY_OTHER": VALUE}


async def test_provider_keys_are_reencrypted_with_the_other_secrets(admin: httpx2.AsyncClient, pool: Pool) -> None:
    await put(admin)
    two = "2:" + "fedcba9876543210" * 4

    assert await rotate_secrets(pool, ADMIN, SecretKeys.parse(f"{SECRET_KEYS},{two}")) == 1
    assert await open_provider_keys(pool, ADMIN, SecretKeys.parse(two)) == {"PROVIDER_KEY_OPENAI": VALUE}
    with pytest.raises(EncryptionError, match="version 2"):
        await open_provider_keys(pool, ADMIN, KEYS)


async def test_a_program_gets_the_provider_keys_and_no_encryption_key(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    await put(admin)
    await put(admin, "AZURE_2", OTHER)

    # Names of settings are case-insensitive.
    done = await command_line.run(
        "provider-keys", "exec", "--", *TELL, PROVIDER_KEY_OPENAI="an older one", litemaas_secret_keys=SECRET_KEYS
    )

    seen = done.json()
    assert seen["PROVIDER_KEY_OPENAI"] == VALUE
    assert seen["PROVIDER_KEY_AZURE_2"] == OTHER
    assert seen["OF_THE_PROGRAM"] == "stays"
    assert not [name for name in seen if name.upper().startswith("LITEMAAS_")]
    assert not any(SECRET_KEYS[2:] in value for value in seen.values())
    assert "2 provider keys" in done.err
    assert "planted" not in done.err
    row = await pool.fetchrow("SELECT actor, new::text FROM audit_logs WHERE action = 'provider_keys.open'")
    assert row is not None
    assert row["actor"].startswith("cli:")
    assert json.loads(row["new"]) == {"names": ["OPENAI", "AZURE_2"]}


async def test_the_program_replaces_the_process_of_the_command(
    admin: httpx2.AsyncClient, command_line: CommandLine
) -> None:
    """Its exit code is the command's, and it gets the signals."""
    failed = await command_line.run("provider-keys", "exec", "--", sys.executable, "-c", "raise SystemExit(7)")
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "provider-keys", "exec", "--", sys.executable, "-c", code, env=dict(command_line.env),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    said = int(await process.stdout.readline())
    process.send_signal(signal.SIGTERM)

    assert failed.code == 7
    assert said == process.pid
    assert await process.wait() == -signal.SIGTERM


async def test_no_program_is_started_if_a_key_does_not_decrypt(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine, tmp_path: Path
) -> None:
    await put(admin)
    await put(admin, "SECOND", OTHER)
    await pool.execute("UPDATE provider_keys SET sealed = sealed || '\\x00'::bytea WHERE name = 'SECOND'")
    touch = ["provider-keys", "exec", "--", "/usr/bin/touch", str(tmp_path / "started")]

    wrong_row = await command_line.run(*touch)
    wrong_key = await command_line.run(*touch, LITEMAAS_SECRET_KEYS="2:" + "fedcba9876543210" * 4)
    no_database = await command_line.run(*touch, LITEMAAS_DATABASE_URL="postgresql://a:b@127.0.0.1:1/c")

    assert [done.code for done in (wrong_row, wrong_key, no_database)] == [1, 1, 1]
    assert "provider key SECOND" in wrong_row.err
    assert "version 1, which LITEMAAS_SECRET_KEYS does not have" in wrong_key.err
    assert not (tmp_path / "started").exists()
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'provider_keys.open'") == 0


async def test_the_error_for_a_missing_program_names_it(command_line: CommandLine) -> None:
    done = await command_line.run("provider-keys", "exec", "--", "no-such-program")
    nothing = await command_line.run("provider-keys", "exec")

    assert (done.code, "'no-such-program' cannot be run" in done.err) == (1, True)
    assert nothing.code == 2


async def test_commands_store_list_and_delete_provider_keys(pool: Pool, command_line: CommandLine) -> None:
    async def keep(text: str, *more: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "provider-keys", "put", "OPENAI", "--provider", "openai", *more, env=dict(command_line.env),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(text.encode())
        return process.returncode or 0, out.decode(), err.decode()

    kept = await keep(VALUE + "\n")
    as_json = await keep(OTHER + "\r\n", "--json")
    wrong = [await keep(text) for text in ("", f"{VALUE}\n{OTHER}\n", "short\n")]
    listed = (await command_line.run("provider-keys", "list", "--json")).json()
    opened = await open_provider_keys(pool, ADMIN, KEYS)
    gone = await command_line.run("provider-keys", "delete", "OPENAI")
    again = await command_line.run("provider-keys", "delete", "OPENAI")

    assert "api_key: os.environ/PROVIDER_KEY_OPENAI" in kept[1]
    shown: dict[str, Any] = json.loads(as_json[1])
    assert shown["last_four"] == OTHER[-4:]
    assert [code for code, _, _ in (kept, as_json, *wrong)] == [0, 0, 2, 2, 2]
    assert [row["name"] for row in listed["rows"]] == ["OPENAI"]
    assert opened == {"PROVIDER_KEY_OPENAI": OTHER}
    assert (gone.code, again.code) == (0, 1)
    said = str((kept, as_json, wrong, listed, gone, again))
    assert not [value for value in (VALUE, OTHER) if value[:-4] in said]
