"""The demo: all components, started concurrently, connected by settings, seeded, and stopped in order."""

import secrets
import time
from pathlib import Path
from typing import Any

from deploy.embedded import identity_provider, litellm_venv
from deploy.embedded.component import Component
from deploy.embedded.identity_provider import IdentityProvider
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import NotStarted
from deploy.embedded.programs import CommandLine, Program
from deploy.embedded.valkey import Valkey

USER = "demo@example.com"
ADMIN = "admin@example.com"
MODEL = "demo-chat"


class Demo:
    """Everything `make demo` runs. `start()` also creates a user, a subscription and a key."""

    def __init__(self, folder: Path, gateway_port: int, admin_port: int) -> None:
        self.folder = folder.absolute()
        self._began = time.monotonic()
        self.postgres = Postgres(self.folder / "postgres")
        self.valkey = Valkey(self.folder / "valkey")
        # Slow enough to see the response stream.
        self.model_server = ModelServer(self.folder / "logs", delay_s=0.3, tokens_per_s=40)
        self.litellm = LiteLLM(self.folder / "litellm", self.model_server.url)
        self.gateway = Program(self.folder / "logs", "gateway", gateway_port, "--workers", "2")
        self.admin = Program(self.folder / "logs", "admin-api", admin_port)
        # A development package, which `make demo` installs; without it the admin token is the only login.
        self.identity_provider: IdentityProvider | None = None
        if identity_provider.is_installed():
            self.identity_provider = IdentityProvider(self.folder / "logs", (ADMIN, USER))
        self.admin_token = secrets.token_urlsafe(32)
        self.env = self._settings()
        self.command_line = CommandLine(self.folder, self.env)
        self.key: dict[str, Any] = {}
        self._seen_config = ""

    def components(self) -> dict[str, Component]:
        """By their names in the state file, in the order they are stopped."""
        return {
            "gateway": self.gateway,
            "admin": self.admin,
            **({"identity_provider": self.identity_provider} if self.identity_provider else {}),
            "litellm": self.litellm,
            "model_server": self.model_server,
            "valkey": self.valkey,
            "postgres": self.postgres,
        }

    def start(self) -> None:
        """Raise NotStarted with one sentence if anything is missing. Call `stop()` in any case."""
        self._launch_foundations()
        self.postgres.wait()
        self.command_line.run("migrate")
        self.valkey.wait()
        self.say("Postgres has its tables and Valkey answers")
        self.gateway.env = self.admin.env = self.env
        self.gateway.launch()
        # Before the first sync, of which the admin API runs one as it starts.
        self.command_line.run("settings", "set", "new_models", "open")
        self.admin.launch()
        # While LiteLLM is still loading.
        self.command_line.run("users", "create", "--email", USER, "--json")
        self.model_server.wait()
        self.litellm.wait()
        self.say("LiteLLM answers, with the model server behind it")
        self._subscribe()
        self.gateway.wait()
        self.admin.wait()
        if self.identity_provider:
            self.identity_provider.wait()
        self.say("the gateway and the admin API are ready")

    def stop(self) -> None:
        for component in self.components().values():
            component.discard()

    def check_alive(self) -> None:
        """Raise NotStarted if a component has ended by itself."""
        for component in self.components().values():
            child = component.child
            if child and child.exit_code is not None:
                raise NotStarted(f"{child.name} ended by itself (exit code {child.exit_code}); {child.last_words()}")

    def restart_edited_litellm(self) -> bool:
        """Restart LiteLLM if its configuration has been edited, once the file rests. Return whether it was; raise
        NotStarted if LiteLLM does not start with it."""
        text = self.litellm.config.read_text()
        rests, self._seen_config = text == self._seen_config, text
        if not rests or text == self.litellm.running_config:
            return False
        self.say(f"LiteLLM's configuration {self.litellm.config} was edited: restarting it ...")
        self.litellm.restart()
        self.say("LiteLLM answers again; `litemaas models sync` reads its models")
        return True

    def new_key(self, *limits: str) -> dict[str, Any]:
        """Its `id` and the `key` itself."""
        key = self.command_line.read("keys", "create", "--user", USER, "--model", MODEL, *limits)
        if not isinstance(key, dict) or not {"id", "key"} <= key.keys():
            raise NotStarted("`litemaas keys create --json` printed no id and key.")
        return key

    def state(self) -> dict[str, Any]:
        """The state file for other programs, once the demo is ready."""
        return {
            "gateway_url": self.gateway.url,
            "admin_url": self.admin.url,
            "metrics_urls": [self.gateway.metrics_url, self.admin.metrics_url],
            "litellm_url": self.litellm.url,
            "litellm_config": str(self.litellm.config),
            "model_server_url": self.model_server.url,
            "database_url": self.postgres.url(APP),
            "redis_url": self.valkey.url(),
            "api_key": self.key["key"],
            "admin_token": self.admin_token,
            "model": MODEL,
            "pids": {name: component.pid for name, component in self.components().items()},
            "env": self.env,
        }

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {what}", flush=True)

    def _launch_foundations(self) -> None:
        if not litellm_venv.is_installed():
            self.say(f"installing LiteLLM in {litellm_venv.FOLDER.name}, once (700 MB) ...")
        litellm_venv.install(self.folder / "logs" / "litellm-install.log")
        self.say("starting Postgres, Valkey, LiteLLM and a model server ...")
        # The slowest first.
        self.litellm.launch()
        self.model_server.launch()
        self.valkey.launch()
        self.postgres.launch()
        if self.identity_provider:
            self.identity_provider.launch()

    def _subscribe(self) -> None:
        self.command_line.run("models", "sync")
        self.command_line.run("subscriptions", "create", "--user", USER, "--model", MODEL, "--json")
        self.key = self.new_key()

    def _settings(self) -> dict[str, str]:
        state = self.folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        return {
            "LITEMAAS_DATABASE_URL": self.postgres.url(APP),
            "LITEMAAS_OWNER_DATABASE_URL": self.postgres.url(OWNER),
            "LITEMAAS_REDIS_URL": self.valkey.url(),
            "LITEMAAS_LITELLM_URLS": self.litellm.url,
            "LITEMAAS_LITELLM_API_KEY": self.litellm.api_key,
            "LITEMAAS_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
            "LITEMAAS_SECRET_KEYS": f"1:{secrets.token_hex(32)}",
            "LITEMAAS_ADMIN_TOKEN": self.admin_token,
            "LITEMAAS_STATE_DIR": str(state),
            "LITEMAAS_GATEWAY_URL": self.gateway.url,
            "LITEMAAS_ADMIN_URL": self.admin.url,
            "LITEMAAS_INITIAL_ADMINS": ADMIN,
            # Webhook receivers for trying it out are on this machine.
            "LITEMAAS_WEBHOOK_ALLOW_HTTP": "true",
            "LITEMAAS_WEBHOOK_NETWORKS": "127.0.0.0/8",
            **self._login_settings(),
        }

    def _login_settings(self) -> dict[str, str]:
        if self.identity_provider is None:
            return {}
        return {
            "LITEMAAS_OIDC_ISSUER": self.identity_provider.url,
            "LITEMAAS_OIDC_CLIENT_ID": "litemaas",
            "LITEMAAS_OIDC_CLIENT_SECRET": secrets.token_urlsafe(32),
            # It verifies nothing, in particular no e-mail address that a user typed.
            "LITEMAAS_OIDC_TRUST_EMAILS": "true",
        }
