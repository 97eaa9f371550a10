"""The demo that load is sent to, the one that runs or one for this run, and a user of it with keys."""

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from demo_process import DemoProcess

from deploy.embedded.component import answers
from deploy.embedded.processes import NotStarted
from deploy.embedded.programs import ROOT
from deploy.embedded.state import STATE, read_state
from loadtests.bench.gateway import HUGE, HUGE_USD, LIMITS
from loadtests.processes import worker_pids

CHAT: Final = "demo-chat"
EMBEDDING: Final = "demo-embedding"
# Limits that are reached: calls a minute, with a full bucket of one minute, fewer in a soak, whose rate is low; and
# calls at once.
RPM: Final = 60
SOAK_RPM: Final = 6
AT_ONCE: Final = 4
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """`state` is what the demo says of itself."""

    folder: Path
    state: Mapping[str, Any]

    @property
    def logs(self) -> Sequence[Path]:
        """Of our own programs."""
        return [self.folder / "logs" / f"{name}.log" for name in ("gateway", "admin-api")]

    @property
    def workers(self) -> frozenset[int]:
        """The gateway's."""
        return frozenset(worker_pids(self.state["pids"]["gateway"]))


@contextmanager
def found_or_started() -> Iterator[RunningDemo]:
    """The demo that runs in the usual folder, else one that lasts as long as the block. Raises NotStarted."""
    folder = Path(os.environ.get("LITEMAAS_DEMO_DIR") or ROOT / ".demo").absolute()
    state = read_state(folder) if (folder / STATE).exists() else None
    if state and answers(f"{state['gateway_url']}/health/live"):
        yield _on_loopback(RunningDemo(folder, state))
        return
    with tempfile.TemporaryDirectory(prefix="litemaas-load-") as name:
        Path(name).chmod(0o755)  # Postgres's own account enters it
        with DemoProcess(Path(name)) as process:
            yield _on_loopback(RunningDemo(process.folder, process.state))


def _on_loopback(demo: RunningDemo) -> RunningDemo:
    if urlsplit(demo.state["gateway_url"]).hostname not in LOOPBACK:
        raise NotStarted(f"Load is sent to loopback only, not to {demo.state['gateway_url']}.")
    return demo


@dataclass(frozen=True, slots=True)
class LoadUser:
    """A user with subscriptions to both models; `keys` by what limits them: nothing, `rpm`, `at_once`."""

    account_id: int
    rpm: int
    keys: Mapping[str, str]
    key_ids: Mapping[str, int]


class _Admin:
    """The admin API. Raises NotStarted for anything it refuses."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        headers = {"authorization": f"Bearer {state['admin_token']}"}
        self.http = httpx2.Client(base_url=f"{state['admin_url']}/api/v1", headers=headers, timeout=30, trust_env=False)

    def send(self, method: str, path: str, **body: object) -> Any:
        answer = self.http.request(method, path, json=body)
        if not answer.is_success:
            raise NotStarted(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def limit(self, level: str, target: int, kind: str, window: str | None, amount: str, **more: object) -> None:
        about = {"level": level, "id": target, "kind": kind, **({"window": window} if window else {})}
        sum_ = {"amount_usd": amount} if kind == "cost" else {"amount": int(amount) if amount.isdigit() else amount}
        self.send("PUT", "/limits", **about, **sum_, confirm=True, **more)


def make_user(demo: RunningDemo, prefix: str, rpm: int) -> LoadUser:
    """A new user, whose main key has limits on four levels that nobody reaches."""
    admin, email = _Admin(demo.state), f"{prefix}@example.com"
    with admin.http:
        user = admin.send("POST", "/users", email=email)
        subscriptions = [admin.send("POST", "/subscriptions", model=name, user=email) for name in (CHAT, EMBEDDING)]
        made = {
            name: admin.send("POST", "/api-keys", models=[CHAT, EMBEDDING], user=email, name=name)
            for name in ("", "rpm", "at_once")
        }
        for subscription in subscriptions:
            for kind in ("requests", "tokens"):
                admin.limit("subscription", subscription["id"], kind, "month", "unlimited")
        ids = {"key": made[""]["id"], "key_model": made[""]["id"], "user": user["id"], "subscription": None}
        ids["subscription"] = subscriptions[0]["id"]
        for level, kind, window in LIMITS[max(LIMITS)]:
            model = {"model": CHAT} if level == "key_model" else {}
            admin.limit(level, ids[level], kind, window, HUGE_USD if kind == "cost" else HUGE, **model)
        admin.limit("key", made["rpm"]["id"], "rpm", None, str(rpm))
        admin.limit("key", made["at_once"]["id"], "concurrency", None, str(AT_ONCE))
    return LoadUser(
        account_id=made[""]["account_id"],
        rpm=rpm,
        keys={name: key["key"] for name, key in made.items()},
        key_ids={name: key["id"] for name, key in made.items()},
    )


def new_prefix() -> str:
    """A word of a run, in the marks of its prompts."""
    return f"load-{secrets.token_hex(4)}"
