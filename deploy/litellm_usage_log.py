"""LiteLLM's own log of calls as JSON lines, for `litemaas ledger reconcile`.

Runs inside LiteLLM: put it beside its config file, name it there, and set the path of the log:

    litellm_settings: {callbacks: ["litellm_usage_log.usage_log"]}
    LITELLM_USAGE_LOG=/var/log/litellm/usage.jsonl

Some fields of its StandardLoggingPayload; never prompts, responses or keys. Lines of several workers do not mix: each
is appended in one write.
"""

import json
import os
from typing import Any, Final

from litellm.integrations.custom_logger import CustomLogger

FIELDS: Final = (
    "litellm_call_id",
    "call_type",
    "status",
    "stream",
    "model",
    "model_group",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "response_cost",
    "startTime",
    "endTime",
)


class UsageLog(CustomLogger):  # type: ignore[misc]  # LiteLLM is in an environment of its own
    """One line for each call that ended in LiteLLM, successful or not."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM."""
        self._write(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Called by LiteLLM."""
        self._write(kwargs)

    def _write(self, kwargs: Any) -> None:
        payload = kwargs.get("standard_logging_object")
        if payload is not None:
            line = {name: payload.get(name) for name in FIELDS}
            os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")


usage_log = UsageLog(os.environ["LITELLM_USAGE_LOG"])
