"""The names by which LiteLLM lets a body reach elsewhere, switch models, retry, or pose: litellm_parameters.txt."""

from importlib.resources import files
from typing import Final

_LINES: Final = (files("gateway.endpoints") / "litellm_parameters.txt").read_text().splitlines()[1:]
LITELLM_PARAMETERS: Final = frozenset(line for line in _LINES if not line.startswith("metadata."))
LITELLM_METADATA: Final = frozenset(line[9:] for line in _LINES if line.startswith("metadata."))
# Whole families, of which LiteLLM's lists name only some.
PARAMETER_PREFIXES: Final = (
    "_",
    "litellm_",
    "aws_",
    "azure_",
    "vertex_",
    "watsonx_",
    "mock_",
    "langfuse_",
    "langsmith_",
)
METADATA_PREFIXES: Final = ("_", "litellm_", "litellm-", "user_api_key")
