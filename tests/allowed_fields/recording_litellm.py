"""A LiteLLM that writes down what it reads of each body, with each model served through several providers."""

import json
from pathlib import Path
from typing import Any, Final

from deploy.embedded import litellm_venv
from deploy.embedded.litellm import OFFLINE, LiteLLM
from deploy.embedded.litellm_config import configuration
from deploy.embedded.processes import Child, bare_environment

SCRIPT: Final = Path(__file__).with_name("record_reads.py")
# One of each way in which LiteLLM talks to a model.
PROVIDERS: Final = ("openai", "anthropic", "hosted_vllm", "azure", "gemini", "bedrock", "ollama_chat")


class RecordingLiteLLM(LiteLLM):
    """`reads` is the file that record_reads.py writes. Models are called `<provider>-chat`."""

    @property
    def reads(self) -> Path:
        return self.folder / "reads.jsonl"

    def launch(self) -> None:
        python = litellm_venv.install(self.folder / "litellm-install.log")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "litellm.yaml"
        wanted = configuration(self._model_server_url, self.api_key)
        # Else a field that a provider does not know ends the call before most is read.
        wanted["litellm_settings"]["drop_params"] = True
        wanted["model_list"] += [self._model(provider) for provider in PROVIDERS]
        config.write_text(json.dumps(wanted, indent=2))
        self.reads.touch()
        argv = [str(python), str(SCRIPT), str(self.reads), "--config", str(config), "--host", "127.0.0.1"]
        self.child = Child(
            "recording LiteLLM",
            [*argv, "--port", str(self.port), "--num_workers", "1", "--telemetry", "False"],
            log=self.folder / "litellm.log",
            env=bare_environment(self.folder) | OFFLINE,
        )

    def _model(self, provider: str) -> dict[str, Any]:
        base = self._model_server_url if provider in ("anthropic", "ollama_chat") else f"{self._model_server_url}/v1"
        names = {"bedrock": "anthropic.claude-3-sonnet-20240229-v1:0"}
        params: dict[str, Any] = {"model": f"{provider}/{names.get(provider, 'demo-chat')}", "api_base": base}
        params |= {"api_key": "not-checked", "max_retries": 0}
        if provider == "azure":
            params["api_version"] = "2024-10-21"
        if provider == "bedrock":
            # Never used: the model server is asked, which refuses.
            params |= {"aws_access_key_id": "x", "aws_secret_access_key": "x", "aws_region_name": "eu-west-1"}
        return {"model_name": f"{provider}-chat", "litellm_params": params}
