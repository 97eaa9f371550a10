"""Runs the image's programs beside real components: what a cluster would do with it, and what it may not contain."""

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from deploy.embedded.demo import MODEL, Demo
from deploy.embedded.processes import NotStarted, free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.round_trip import stream_one, usage_row
from deploy.image.engines import Engine
from deploy.image.run import GID, UID

CONTENTS: Final = Path(__file__).with_name("contents.py")
LOCK: Final = ROOT / "deploy" / "requirements.lock"
LABELS: Final = ("title", "description", "version", "licenses", "revision", "base.name")
MIB: Final = 2**20
PATIENCE_S: Final = 60.0
# Forty a second: the stream ends long after the signal.
LONG_PROMPT: Final = "Tell me more. [tokens=120]"


def try_image(engine: Engine, tag: str) -> None:
    """A line for each thing that is so. Raise NotStarted with the first that is not."""
    check_config(engine.config(tag))
    with engine.prepared(tag) as prefix, tempfile.TemporaryDirectory(prefix="litemaas-image-") as folder:
        # Postgres's account must enter it.
        Path(folder).chmod(0o755)
        check_contents(prefix)
        say(f"its size is {engine.compressed_size(tag) / MIB:.0f} MiB compressed")
        command = Path(folder) / "litemaas"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(prefix)} litemaas "$@"\n')
        command.chmod(0o755)
        demo = Demo(Path(folder), free_port(), free_port(), command=command)
        try:
            demo.start()
            try_programs(demo, prefix, engine.config(tag)["Healthcheck"]["Test"])
        finally:
            demo.stop()


def say(what: str) -> None:
    print(f"ok  {what}", flush=True)


def require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise NotStarted(problem)


def check_config(config: dict[str, Any]) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    missing = [name for name in LABELS if not labels.get(name)]
    require(not missing, f"The image has no label {', '.join(missing)}.")
    require(config["User"].isdecimal() and config["User"] != "0", f"The image's user is {config['User']!r}.")
    left = [name for name in config["Env"] if re.match(r"SSL_CERT_FILE|PIP_|NODE_", name)]
    require(not left, f"The image keeps of its build: {', '.join(left)}.")
    say(f"labels say version {labels['version']}, commit {labels['revision'][:10]}, base {labels['base.name']}")


def check_contents(prefix: Sequence[str]) -> None:
    found = json.loads(run([*prefix, "python3.13", "-I", "-c", CONTENTS.read_text()]))
    require(found["user"] in ([UID, GID], [UID, GID, GID]), f"The image runs as {found['user']}.")
    require(found["is_read_only"], "The image's root can be written to.")
    say(f"runs as user {UID} of group {GID} on a read-only root")
    require(not found["unwanted"], f"The image has {', '.join(found['unwanted'])}.")
    require(not found["privileged"], f"The image has set-user-id programs: {', '.join(found['privileged'])}.")
    say(f"has no pip, no compiler and no set-user-id program in {found['bytes'] / MIB:.0f} MiB")
    pinned = pins(LOCK.read_text())
    installed = {plain(name): version for name, version in found["packages"].items()}
    installed.pop("litemaas")
    wrong = {name for name, version in installed.items() if pinned.get(name) != version}
    require(not wrong, f"The image's {', '.join(sorted(wrong))} is not the locked version.")
    listed = {plain(name): version for name, version in found["sbom"].items()}
    require(listed == installed, f"The SBOM differs in {sorted(listed.items() ^ installed.items())}.")
    say(f"its SBOM ({' '.join(found['sbom_format'])}) names all {len(installed)} packages, each as locked")


def pins(lock: str) -> dict[str, str]:
    """Versions by name."""
    return {plain(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[\S+\])?==(\S+)", lock, re.MULTILINE)}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def try_programs(demo: Demo, prefix: Sequence[str], health: Sequence[str]) -> None:
    require(demo.command_line.run("migrate").strip() == "Nothing to do.", "`litemaas migrate` left something to do.")
    say("has migrated Postgres, and serves the gateway and the admin API")
    require(health[0] == "CMD", f"The health check is no command: {health}.")
    for program in (demo.gateway, demo.admin):
        run([*prefix, *health[1:], "--port", str(program.port)])
    say(f"its health check, `{' '.join(health[1:])}`, says healthy of both")
    stream_one(demo)
    row = usage_row(demo, demo.key["id"])
    say(f"answered a call, and it is in the ledger: {row['prompt_tokens']} + {row['completion_tokens']} tokens")
    say(f"serves the portal with {check_portal(demo.admin.url)} files of its page")
    check_drain(demo)
    require(fails([*prefix, *health[1:], "--port", str(demo.gateway.port)]), "A gateway that has ended is healthy.")
    say("its health check says so when the gateway has ended")


def check_portal(url: str) -> int:
    """How many files the first page loads."""
    with httpx2.Client(base_url=url, trust_env=False, follow_redirects=True, timeout=PATIENCE_S) as client:
        page = client.get("/", headers={"accept": "text/html"})
        require(page.status_code == 200, f"The portal's page was answered {page.status_code}.")
        files = set(re.findall(r'(?:href|src)="(/[^"#?]+\.(?:css|js|svg|woff2|png|ico))', page.text))
        require(len(files) > 2, f"The portal's page names {len(files)} files: {page.text[:300]}")
        for file in files:
            answer = client.get(file)
            require(answer.status_code == 200 and answer.content != b"", f"{file} was answered {answer.status_code}.")
    return len(files)


def check_drain(demo: Demo) -> None:
    """SIGTERM during a stream: it ends as it would have, its row is written, and the gateway ends with 0."""
    child = demo.gateway.child
    if child is None:
        raise NotStarted("The gateway does not run.")
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": LONG_PROMPT}]}
    headers = {"authorization": f"Bearer {demo.key['key']}"}
    url = f"{demo.gateway.url}/v1/chat/completions"
    lines: list[str] = []
    began = time.monotonic()
    try:
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False) as answer:
            for line in answer.iter_lines():
                if not lines and line:
                    began = time.monotonic()
                    os.kill(child.pid, signal.SIGTERM)
                lines.append(line)
    except httpx2.TransportError as problem:
        raise NotStarted(f"SIGTERM cut an open stream: {problem or type(problem).__name__}.") from problem
    took = time.monotonic() - began
    require(any(line == "data: [DONE]" for line in lines), f"SIGTERM cut an open stream after {len(lines)} lines.")
    deadline = began + PATIENCE_S
    while (code := child.exit_code) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    require(code == 0, f"The gateway ended with {code} after SIGTERM.")
    shown = demo.command_line.read("usage", "show", "--key", str(demo.key["id"]))
    require(len(shown["rows"]) == 2, f"After SIGTERM the ledger has {len(shown['rows'])} rows of two calls.")
    say(f"drained on SIGTERM: an open stream went on for {took:.1f} s to its end, its row is written, exit 0")


def run(argv: Sequence[str]) -> str:
    done = finished(argv)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise NotStarted(f"`{argv[-1][:40]}` in the image failed: {said}")
    return done.stdout


def fails(argv: Sequence[str]) -> bool:
    return finished(argv).returncode == 1


def finished(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise NotStarted(f"`{argv[-1][:40]}` in the image took longer than {PATIENCE_S:.0f} s.") from None
