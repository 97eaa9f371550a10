"""The real LiteLLM proxy on loopback, without its database, in front of the model server."""

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.embedded import litellm_venv
from deploy.embedded.component import Component, answers
from deploy.embedded.litellm_config import configuration
from deploy.embedded.processes import Child, bare_environment, free_port
from deploy.embedded.programs import LITEMAAS

OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it fetches a price list from a public server
    "LITELLM_MODE": "PRODUCTION",  # otherwise it reads any .env file above its own
    "LITELLM_LOG": "ERROR",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONFAULTHANDLER": "1",  # a traceback in its log if it crashes
    # Its streams set a context variable when they are garbage collected. Up to Python 3.11 that may happen during
    # the setting of another one, whose memory is free then: a hundred calls at once ended three of four processes.
    "PYTHON_GC_THRESHOLD": "100000,50,50",
}
PROGRAM = Path(__file__).with_name("run_litellm.py")
LOGGER = Path(__file__).parents[1] / "litellm_usage_log.py"


class LiteLLM(Component):
    """One proxy. `install(log)` of litellm_venv comes first, else it is done at the first start.

    `custom_auth` is a Python file whose `authenticate` authorizes keys, in place of the database. `usage_log`
    is the file of its call log, written by deploy/litellm_usage_log.py. With `stored_keys`, the settings that
    decrypt them, it is started by `litemaas provider-keys exec`; `api_keys` are the models' keys in the configuration.
    """

    TIMEOUT_S = 120.0  # 10 s on two idle cores; a busy machine takes much longer

    def __init__(
        self,
        folder: Path,
        model_server_url: str,
        *,
        port: int | None = None,
        api_key: str | None = None,
        custom_auth: Path | None = None,
        usage_log: Path | None = None,
        stored_keys: Mapping[str, str] | None = None,
        api_keys: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.api_key = api_key or f"sk-{secrets.token_hex(16)}"
        self.url = f"http://127.0.0.1:{self.port}"
        self._model_server_url = model_server_url
        self._custom_auth = custom_auth
        self._usage_log = usage_log
        self._stored_keys = stored_keys
        self._api_keys = api_keys or {}
        # What it has read.
        self.running_config = ""

    @property
    def config(self) -> Path:
        """Its configuration: written by `launch`, and read again by `restart` as it has been edited."""
        return self.folder / "litellm.yaml"

    def launch(self) -> None:
        litellm_venv.install(self.folder / "litellm-install.log")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.touch(mode=0o600)
        wanted = configuration(self._model_server_url, self.api_key)
        for model in wanted["model_list"]:
            if key := self._api_keys.get(model["model_name"]):
                model["litellm_params"]["api_key"] = key
        if self._custom_auth:
            # LiteLLM looks for the module beside its config file.
            shutil.copy(self._custom_auth, self.folder)
            wanted["general_settings"]["custom_auth"] = f"{self._custom_auth.stem}.authenticate"
        if self._usage_log:
            shutil.copy(LOGGER, self.folder)
            wanted["litellm_settings"]["callbacks"] = [f"{LOGGER.stem}.usage_log"]
        self.config.write_text(json.dumps(wanted, indent=2) + "\n")
        self._run()

    def restart(self) -> None:
        """Stop it and start it with its configuration as the file is now. Raise NotStarted as `wait` does."""
        self.stop()
        self._run()
        self.wait()

    def _run(self) -> None:
        self.running_config = self.config.read_text()
        env = bare_environment(self.folder) | OFFLINE
        if self._usage_log:
            env["LITELLM_USAGE_LOG"] = str(self._usage_log.absolute())
        argv = []
        if self._stored_keys is not None:
            argv = [str(LITEMAAS), "provider-keys", "exec", "--"]
            env |= self._stored_keys
        argv += [str(litellm_venv.python()), "-P", str(PROGRAM), "--config", str(self.config)]
        argv += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.child = Child(
            "LiteLLM",
            [*argv, "--num_workers", "1", "--telemetry", "False"],
            log=self.folder / "litellm.log",
            env=env,
        )

    def is_ready(self) -> bool:
        return answers(f"{self.url}/health/liveliness")
