"""Runs the image's programs beside real components: what a cluster would do with it, and what it may not contain."""

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from deploy.embedded.processes import NotStarted
from deploy.embedded.programs import ROOT, Program
from deploy.image.composition import Composition
from deploy.image.engines import Engine
from deploy.image.run import GID, UID

CONTENTS: Final = Path(__file__).with_name("contents.py")
README: Final = ROOT / "README.md"
COMPOSE: Final = "docker compose -f deploy/compose.yaml "
# Of deploy/litellm/config.yaml.
MODEL: Final = "gpt-4o-mini"
PROGRAMS: Final = ("gateway-1", "gateway-2", "admin")
DRAINED: Final = "gateway-1"
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
        composition = Composition(Path(folder), command, prefix, engine.config(tag)["Healthcheck"]["Test"])
        try:
            try_programs(composition)
        finally:
            composition.discard()


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


def try_programs(composition: Composition) -> None:
    key = follow_readme(composition)
    for name in PROGRAMS:
        require(composition.is_healthy(name), f"The health check says that {name} is not healthy.")
    say(f"their health checks say healthy of {', '.join(PROGRAMS)}")
    gateways = [composition.program(name) for name in PROGRAMS if name.startswith("gateway")]
    for gateway in gateways:
        for line in stream(gateway, key, "Hello [tokens=24]"):
            require('"error"' not in line, f"The gateway streamed {line[:300]}")
    rows = rows_of_key(composition, len(gateways))
    tokens = {(row["prompt_tokens"], row["completion_tokens"]) for row in rows}
    require(len(tokens) == 1 and tokens.pop()[1] == 24, f"The ledger has {[row['completion_tokens'] for row in rows]}.")
    say(f"each gateway answered a call with the key, and the ledger has {len(rows)} rows of 24 tokens")
    for name in PROGRAMS:
        answer = httpx2.get(composition.program(name).metrics_url, trust_env=False, timeout=PATIENCE_S)
        require("litemaas_" in answer.text, f"{name} has no metrics.")
    say(f"serves the portal with {check_portal(composition.program('admin').url)} files of its page, and metrics")
    check_doctor(composition)
    check_drain(composition, key)
    require(not composition.is_healthy(DRAINED), "A gateway that has ended is healthy.")
    say("its health check says so when the gateway has ended")


def follow_readme(composition: Composition) -> str:
    """Does what README.md says, command by command, and returns the key it ends with."""
    text = README.read_text().split("### Run it in containers\n")[1].split("\n##")[0]
    commands = re.findall(rf"^(deploy/make_env\.sh|{re.escape(COMPOSE)}.*?)(?: +#.*)?$", text, re.MULTILINE)
    printed = ""
    for line in commands:
        words = shlex.split(line.removeprefix(COMPOSE))
        match words:
            case ["deploy/make_env.sh"]:
                composition.make_env()
            case ["up", "--detach", "--no-deps", "--wait", name]:
                composition.wait_for_health(name)
            case ["up", *_]:
                composition.up()
                say(f"migrated and started in the order of deploy/compose.yaml: {', '.join(composition.components)}")
            case ["restart", name]:
                composition.restart(name)
            case ["exec", name, "litemaas", *arguments]:
                printed = composition.exec(name, *arguments, typed="sk-made-up-for-the-trial\n")
            case _:
                raise NotStarted(f"README.md has a command that cannot be tried here: {line}")
    found = re.search(r"sk-lm-\S+", printed)
    require(found is not None, f"The last command of README.md printed no key: {printed}")
    say(f"the {len(commands)} commands of README.md lead to a key")
    return found[0] if found else ""


def stream(gateway: Program, key: str, prompt: str) -> Iterator[str]:
    """The lines of a streamed answer. Raise NotStarted if it breaks off, or is none."""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    headers = {"authorization": f"Bearer {key}"}
    url = f"{gateway.url}/v1/chat/completions"
    last = ""
    try:
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False) as answer:
            require(answer.status_code == 200, f"A call was answered {answer.status_code}.")
            for last in filter(None, answer.iter_lines()):
                yield last
    except httpx2.TransportError as problem:
        raise NotStarted(f"A stream was cut: {problem or type(problem).__name__}.") from problem
    require(last == "data: [DONE]", f"A stream was cut: its last line is {last[:300]!r}.")


def rows_of_key(composition: Composition, expected: int) -> list[dict[str, Any]]:
    """The ledger's rows of the first key, once there are so many: they come after the answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        rows: list[dict[str, Any]] = composition.command_line("admin").read("usage", "show", "--key", "1")["rows"]
        if len(rows) >= expected or time.monotonic() > deadline:
            require(len(rows) == expected, f"The ledger has {len(rows)} rows of {expected} calls.")
            return rows
        time.sleep(0.2)


def check_doctor(composition: Composition) -> None:
    for name in (DRAINED, "admin"):
        found = composition.command_line(name).read("doctor")
        checks = {one["check"] for one in found["findings"]}
        require(("journal" in checks) == (name == DRAINED), f"The doctor of {name} looked at {', '.join(checks)}.")
    say("its doctor finds no problem in a gateway and in the admin program")


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


def check_drain(composition: Composition, key: str) -> None:
    """SIGTERM during a stream: it ends as it would have, its row is written, and the gateway ends with 0."""
    child = composition.program(DRAINED).child
    if child is None:
        raise NotStarted("The gateway does not run.")
    began = None
    for _ in stream(composition.program(DRAINED), key, LONG_PROMPT):
        if began is None:
            began = time.monotonic()
            os.kill(child.pid, signal.SIGTERM)
    took = time.monotonic() - (began or 0)
    deadline = time.monotonic() + PATIENCE_S
    while (code := child.exit_code) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    require(code == 0, f"The gateway ended with {code} after SIGTERM.")
    # At its end: nothing comes later.
    shown = composition.command_line("admin").read("usage", "show", "--key", "1")
    require(len(shown["rows"]) == 3, f"After SIGTERM the ledger has {len(shown['rows'])} rows of three calls.")
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
