"""Valkey as the compose file starts it: only with its password (S12)."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml

from deploy.embedded.processes import bare_environment, free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.valkey import find_server

DEPLOY: Final = ROOT / "deploy"
SERVICE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["valkey"]
PASSWORD: Final = "0123456789abcdef"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Valkey as the container starts it."""
    port, server = free_port(), Path(find_server())
    (tmp_path / "valkey-server").symlink_to(server)
    env = bare_environment(tmp_path) | {"VALKEY_PASSWORD": PASSWORD}
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    argv = [*SERVICE["entrypoint"][:-1], DEPLOY / "valkey" / "start.sh"]
    process = subprocess.Popen([*argv, "--port", str(port), "--bind", "127.0.0.1"], env=env, cwd=tmp_path)
    try:
        yield process, port
    finally:
        process.terminate()
        assert process.wait(10) == 0, "it does not hear SIGTERM"


def wait_until_it_answers(client: "redis.Redis") -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            return
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_s12_valkey_needs_its_password_and_keeps_it_out_of_its_arguments(
    valkey: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = valkey
    with redis.Redis(port=port, password=PASSWORD) as known, redis.Redis(port=port) as stranger:
        wait_until_it_answers(known)
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        about = known.info()

    assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert (about["aof_enabled"], about["maxmemory_policy"]) == (0, "noeviction")
    assert 'save ""\n' in (DEPLOY / "valkey" / "start.sh").read_text()
    assert 0 < int(about["maxmemory"]) < int(SERVICE["mem_limit"].removesuffix("g")) * 2**30


def test_s12_valkey_does_not_start_without_a_password(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(DEPLOY / "valkey" / "start.sh")], env=bare_environment(tmp_path), capture_output=True, text=True
    )

    assert done.returncode != 0
    assert "VALKEY_PASSWORD" in done.stderr
