"""An administrator at work, by three ways in: HTTP, `litemaas`, and a client generated from the OpenAPI document.

All three do the same and return the same JSON, so a test is written once. Each uses its way in alone.
"""

import asyncio
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
from clients import venvs
from command_line import CommandLine

Row = dict[str, Any]
THRESHOLD: Final = "limit.threshold_reached"
# Where openapi-python-client is installed: it needs an older typer than `litemaas` has.
VENV: Final = "openapi"
PACKAGE: Final = "litemaas_client"
PROGRAM: Final = venvs.FOLDER / "openapi_program.py"


class Administrator(ABC):
    """What an administrator does."""

    @abstractmethod
    async def create_user(self, email: str) -> Row: ...

    @abstractmethod
    async def create_team(self, name: str) -> Row: ...

    @abstractmethod
    async def add_member(self, team: str, user: str, *, role: str) -> Row: ...

    @abstractmethod
    async def restrict(self, model: str) -> Row: ...

    @abstractmethod
    async def subscribe(self, model: str, **account: str) -> Row:
        """For a `team` or a `user`."""

    @abstractmethod
    async def list_pending(self, team: str) -> list[Row]: ...

    @abstractmethod
    async def approve(self, subscription: int) -> Row: ...

    @abstractmethod
    async def create_key(self, models: list[str], **account: str) -> Row: ...

    @abstractmethod
    async def watch(self, team: str, url: str) -> Row:
        """A webhook for the alerts of a team."""

    @abstractmethod
    async def set_budget(self, team: str, usd: str) -> Row:
        """Of a month."""

    @abstractmethod
    async def explain(self, key: int, model: str) -> Row: ...

    @abstractmethod
    async def find_refusal(self, request_id: str) -> list[Row]:
        """The refused call; nothing if it is not there (yet)."""

    @abstractmethod
    async def boost(self, limit: int, usd: str, *, until: str, reason: str) -> Row: ...

    @abstractmethod
    async def usage_by(self, by: str, *, since: str, until: str, **account: str | int) -> list[Row]:
        """Groups, the dearest first."""

    @abstractmethod
    async def export(self, team: str) -> str:
        """CSV of the last 30 days."""

    @abstractmethod
    async def rotate(self, key: int) -> Row:
        """The old secret ends at once."""

    @abstractmethod
    async def suspend(self, subscription: int, *, reason: str) -> Row: ...

    @abstractmethod
    async def deactivate(self, user: str) -> Row: ...

    @abstractmethod
    async def set_price(self, model: str, *, input_usd: str, output_usd: str) -> Row:
        """USD for a million tokens."""

    @abstractmethod
    async def calls_of(self, key: int) -> list[Row]:
        """Single calls, newest first."""

    @abstractmethod
    async def sync_models(self) -> Row: ...

    @abstractmethod
    async def rename(self, model: str, to: str) -> Row: ...

    @abstractmethod
    async def limit_keys(self, team: str, *, rpm: int) -> Row:
        """Previews the change of all keys of a team, then applies it."""

    @abstractmethod
    async def audit(self, about: str) -> list[Row]: ...


class ByHTTP(Administrator):
    """Nothing but the admin API's routes."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def _ask(self, method: str, path: str, body: Row | None = None, **query: Any) -> httpx2.Response:
        answer = await self._http.request(method, f"/api/v1{path}", json=body, params=query)
        assert answer.is_success, answer.text
        return answer

    async def _get(self, path: str, **query: Any) -> Any:
        return (await self._ask("GET", path, **query)).json()

    async def _send(self, method: str, path: str, **body: Any) -> Any:
        return (await self._ask(method, path, body)).json()

    async def create_user(self, email: str) -> Row:
        return await self._send("POST", "/users", email=email)

    async def create_team(self, name: str) -> Row:
        return await self._send("POST", "/teams", name=name)

    async def add_member(self, team: str, user: str, *, role: str) -> Row:
        return await self._send("POST", f"/teams/{team}/members", user=user, role=role)

    async def restrict(self, model: str) -> Row:
        return await self._send("PATCH", f"/models/{model}", restricted=True)

    async def subscribe(self, model: str, **account: str) -> Row:
        return await self._send("POST", "/subscriptions", model=model, **account)

    async def list_pending(self, team: str) -> list[Row]:
        return (await self._get("/subscriptions", team=team, status="pending"))["rows"]

    async def approve(self, subscription: int) -> Row:
        return await self._send("POST", f"/subscriptions/{subscription}/approve")

    async def create_key(self, models: list[str], **account: str) -> Row:
        return await self._send("POST", "/api-keys", models=models, **account)

    async def watch(self, team: str, url: str) -> Row:
        return await self._send("POST", "/webhooks", url=url, events=[THRESHOLD], team=team)

    async def set_budget(self, team: str, usd: str) -> Row:
        budget = {"level": "team", "id": team, "kind": "cost", "window": "month", "amount_usd": usd}
        return await self._send("PUT", "/limits", **budget)

    async def explain(self, key: int, model: str) -> Row:
        return await self._get("/limits/explain", key=key, model=model)

    async def find_refusal(self, request_id: str) -> list[Row]:
        answer = await self._http.get(f"/api/v1/refusals/{request_id}")
        assert answer.status_code in (200, 404), answer.text
        return [answer.json()] if answer.is_success else []

    async def boost(self, limit: int, usd: str, *, until: str, reason: str) -> Row:
        more = {"amount_usd": usd, "expires_at": until, "reason": reason}
        return await self._send("POST", f"/admin/limits/{limit}/boost", **more)

    async def usage_by(self, by: str, *, since: str, until: str, **account: str | int) -> list[Row]:
        return (await self._get(f"/usage/breakdown/{by}", since=since, until=until, **account))["groups"]

    async def export(self, team: str) -> str:
        return (await self._ask("GET", "/usage/export", team=team)).text

    async def rotate(self, key: int) -> Row:
        return await self._send("POST", f"/api-keys/{key}/rotate", grace_s=0)

    async def suspend(self, subscription: int, *, reason: str) -> Row:
        return await self._send("POST", f"/subscriptions/{subscription}/suspend", reason=reason)

    async def deactivate(self, user: str) -> Row:
        return await self._send("PATCH", f"/users/{user}", status="deactivated")

    async def set_price(self, model: str, *, input_usd: str, output_usd: str) -> Row:
        price = {"input_per_million_usd": input_usd, "output_per_million_usd": output_usd}
        return await self._send("POST", "/prices", model=model, **price)

    async def calls_of(self, key: int) -> list[Row]:
        return (await self._get("/usage", key=key))["rows"]

    async def sync_models(self) -> Row:
        return await self._send("POST", "/models/sync")

    async def rename(self, model: str, to: str) -> Row:
        return await self._send("POST", "/admin/models/rename", model=model, to=to)

    async def limit_keys(self, team: str, *, rpm: int) -> Row:
        wanted = {"level": "key", "team": team, "kind": "rpm", "amount": rpm}
        seen = await self._send("POST", "/admin/limits/preview", **wanted)
        return await self._send("POST", "/admin/limits/apply", **wanted, token=seen["token"])

    async def audit(self, about: str) -> list[Row]:
        return (await self._get("/admin/audit", about=about, limit=1000))["rows"]


class ByCommand(Administrator):
    """Nothing but `litemaas`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._litemaas = CommandLine(env)

    async def _run(self, *arguments: object) -> Any:
        return (await self._litemaas.run(*map(str, arguments), "--json")).json()

    async def create_user(self, email: str) -> Row:
        return await self._run("users", "create", "--email", email)

    async def create_team(self, name: str) -> Row:
        return await self._run("teams", "create", name)

    async def add_member(self, team: str, user: str, *, role: str) -> Row:
        return await self._run("teams", "add-member", team, "--user", user, "--role", role)

    async def restrict(self, model: str) -> Row:
        return await self._run("models", "update", model, "--restricted")

    async def subscribe(self, model: str, **account: str) -> Row:
        return await self._run("subscriptions", "create", "--model", model, *_options(account))

    async def list_pending(self, team: str) -> list[Row]:
        return (await self._run("subscriptions", "list", "--team", team, "--status", "pending"))["rows"]

    async def approve(self, subscription: int) -> Row:
        done = await self._run("subscriptions", "approve", subscription)
        return done["rows"][0] if "rows" in done else done

    async def create_key(self, models: list[str], **account: str) -> Row:
        named = [part for model in models for part in ("--model", model)]
        return await self._run("keys", "create", *named, *_options(account))

    async def watch(self, team: str, url: str) -> Row:
        return await self._run("webhooks", "create", "--url", url, "--event", THRESHOLD, "--team", team)

    async def set_budget(self, team: str, usd: str) -> Row:
        target = ("--level", "team", "--id", team)
        return await self._run("limits", "set", *target, "--kind", "cost", "--window", "month", "--amount-usd", usd)

    async def explain(self, key: int, model: str) -> Row:
        return await self._run("limits", "explain", "--key", key, "--model", model)

    async def find_refusal(self, request_id: str) -> list[Row]:
        done = await self._litemaas.run("refusals", "show", request_id, "--json")
        assert done.code == 0 or "not_found" in done.err or "no refused call" in done.err.lower(), done.err
        return [done.json()] if done.code == 0 else []

    async def boost(self, limit: int, usd: str, *, until: str, reason: str) -> Row:
        more = ("--amount-usd", usd, "--expires-at", until, "--reason", reason)
        return await self._run("limits", "boost", limit, *more)

    async def usage_by(self, by: str, *, since: str, until: str, **account: str | int) -> list[Row]:
        period = ("--since", since, "--until", until)
        return (await self._run("usage", "breakdown", by, *period, *_options(account)))["groups"]

    async def export(self, team: str) -> str:
        done = await self._litemaas.run("usage", "export", "--team", team)
        assert done.code == 0, done.err
        return done.out

    async def rotate(self, key: int) -> Row:
        return await self._run("keys", "rotate", key, "--grace-s", 0)

    async def suspend(self, subscription: int, *, reason: str) -> Row:
        return await self._run("subscriptions", "suspend", subscription, "--reason", reason)

    async def deactivate(self, user: str) -> Row:
        return await self._run("users", "deactivate", user)

    async def set_price(self, model: str, *, input_usd: str, output_usd: str) -> Row:
        price = ("--input-per-million-usd", input_usd, "--output-per-million-usd", output_usd)
        return await self._run("prices", "set", "--model", model, *price)

    async def calls_of(self, key: int) -> list[Row]:
        return (await self._run("usage", "show", "--key", key))["rows"]

    async def sync_models(self) -> Row:
        return await self._run("models", "sync")

    async def rename(self, model: str, to: str) -> Row:
        return await self._run("models", "rename", model, to)

    async def limit_keys(self, team: str, *, rpm: int) -> Row:
        wanted = ("limits", "set-many", "--level", "key", "--team", team, "--kind", "rpm", "--amount", rpm)
        seen = await self._run(*wanted)
        return await self._run(*wanted, "--token", seen["token"])

    async def audit(self, about: str) -> list[Row]:
        return (await self._run("audit", "list", "--about", about, "--limit", 1000))["rows"]


def _options(account: Mapping[str, str | int]) -> list[str]:
    return [part for name, value in account.items() for part in (f"--{name}", str(value))]


class ByClient(Administrator):
    """Nothing but the functions and types that openapi-python-client generates, in a process of their own: what they
    import is not installed here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def _call(self, function: str, *path: Any, body: tuple[str, Row] | None = None, **query: Any) -> Any:
        """The answer as JSON, made from the typed answer."""
        status, answer = await self._try(function, *path, body=body, **query)
        assert status < 300, answer
        return answer

    async def _try(self, function: str, *path: Any, body: tuple[str, Row] | None = None, **query: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"function": function, "path": path, "body": body, "query": query}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return json.loads(await self._process.stdout.readline() or b'[599, "the client has ended"]')

    async def create_user(self, email: str) -> Row:
        return await self._call("users.create_user", body=("NewUser", {"email": email}))

    async def create_team(self, name: str) -> Row:
        return await self._call("teams.create_team", body=("NewTeam", {"name": name}))

    async def add_member(self, team: str, user: str, *, role: str) -> Row:
        return await self._call("teams.add_member", team, body=("NewMember", {"user": user, "role": role}))

    async def restrict(self, model: str) -> Row:
        return await self._call("models.update_model", model, body=("ModelChange", {"restricted": True}))

    async def subscribe(self, model: str, **account: str) -> Row:
        wanted = ("NewSubscription", {"model": model, **account})
        return await self._call("subscriptions.create_subscription", body=wanted)

    async def list_pending(self, team: str) -> list[Row]:
        return (await self._call("subscriptions.list_subscriptions", team=team, status="pending"))["rows"]

    async def approve(self, subscription: int) -> Row:
        return await self._call("subscriptions.change_subscription", subscription, "approve", body=("Reason", {}))

    async def create_key(self, models: list[str], **account: str) -> Row:
        return await self._call("keys.create_key", body=("NewKey", {"models": models, **account}))

    async def watch(self, team: str, url: str) -> Row:
        wanted = ("NewWebhook", {"url": url, "events": [THRESHOLD], "team": team})
        return await self._call("webhooks.create_webhook", body=wanted)

    async def set_budget(self, team: str, usd: str) -> Row:
        budget = {"level": "team", "id": team, "kind": "cost", "window": "month", "amount_usd": usd}
        return await self._call("limits.set_limit", body=("LimitSetting", budget))

    async def explain(self, key: int, model: str) -> Row:
        return await self._call("limits.explain_limits", key=key, model=model)

    async def find_refusal(self, request_id: str) -> list[Row]:
        status, answer = await self._try("usage.show_refused_call", request_id)
        assert status in (200, 404), answer
        return [answer] if status == 200 else []

    async def boost(self, limit: int, usd: str, *, until: str, reason: str) -> Row:
        more = ("Boost", {"amount_usd": usd, "expires_at": until, "reason": reason})
        return await self._call("limits.boost_limit", limit, body=more)

    async def usage_by(self, by: str, *, since: str, until: str, **account: str | int) -> list[Row]:
        return (await self._call("usage.break_down_usage", by, since=since, until=until, **account))["groups"]

    async def export(self, team: str) -> str:
        return str(await self._call("usage.export_usage", team=team))

    async def rotate(self, key: int) -> Row:
        return await self._call("keys.rotate_key", key, body=("Rotation", {"grace_s": 0}))

    async def suspend(self, subscription: int, *, reason: str) -> Row:
        why = ("Reason", {"reason": reason})
        return await self._call("subscriptions.change_subscription", subscription, "suspend", body=why)

    async def deactivate(self, user: str) -> Row:
        return await self._call("users.update_user", user, body=("UserChange", {"status": "deactivated"}))

    async def set_price(self, model: str, *, input_usd: str, output_usd: str) -> Row:
        price = {"input_per_million_usd": input_usd, "output_per_million_usd": output_usd}
        return await self._call("prices.set_price", body=("NewPrice", {"model": model, **price}))

    async def calls_of(self, key: int) -> list[Row]:
        return (await self._call("usage.list_calls", key=key))["rows"]

    async def sync_models(self) -> Row:
        return await self._call("models.sync_models", body=("SyncInput", {}))

    async def rename(self, model: str, to: str) -> Row:
        return await self._call("models.rename_model", body=("ModelRename", {"model": model, "to": to}))

    async def limit_keys(self, team: str, *, rpm: int) -> Row:
        wanted = {"level": "key", "team": team, "kind": "rpm", "amount": rpm}
        seen = await self._call("limits.preview_limits", body=("BulkInput", wanted))
        return await self._call("limits.apply_limits", body=("BulkApply", wanted | {"token": seen["token"]}))

    async def audit(self, about: str) -> list[Row]:
        return (await self._call("audit.list_audit", about=about, limit=1000))["rows"]


@asynccontextmanager
async def generated_client(document: Path, url: str, token: str) -> AsyncIterator[ByClient]:
    """The client that openapi-python-client makes of the document, without a warning, beside the document."""
    await asyncio.to_thread(venvs.install, VENV)
    python = venvs.python_of(VENV)
    command = [python.with_name("openapi-python-client"), "generate", "--path", document, "--meta", "none"]
    command += ["--output-path", document.with_name(PACKAGE), "--overwrite", "--fail-on-warning"]
    # Its hooks format the files with ruff.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"PATH": path}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await done.communicate()
    assert done.returncode == 0, printed.decode()
    process = await asyncio.create_subprocess_exec(
        python, PROGRAM, document.parent, url,
        env=os.environ | {"LITEMAAS_TOKEN": token}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield ByClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
