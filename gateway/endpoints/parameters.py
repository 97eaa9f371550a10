"""What a caller may not send: the fields by which LiteLLM lets one reach elsewhere, switch models, retry, or pose."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from gateway.domain.errors import GatewayError

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
METADATA_PREFIXES: Final = ("_", "litellm_", "user_api_key")
TOOLS_THAT_REACH_ELSEWHERE: Final = frozenset({"mcp", "file_search"})


def refuse_parameters(names: Iterable[str]) -> None:
    """Raises `parameter_not_allowed` for the first field that is LiteLLM's own."""
    for name in names:
        if name in LITELLM_PARAMETERS or name.startswith(PARAMETER_PREFIXES):
            raise GatewayError(
                "parameter_not_allowed",
                f"The field '{name[:100]}' steers the proxy, not the model; leave it out.",
                param=name[:100],
            )


def refuse_metadata(names: Iterable[str]) -> None:
    """The same for the keys of `metadata`."""
    for name in names:
        if name in LITELLM_METADATA or name.startswith(METADATA_PREFIXES):
            field = f"metadata.{name[:100]}"
            raise GatewayError(
                "parameter_not_allowed",
                f"The field '{field}' steers the proxy, not the model; leave it out.",
                param=field,
            )
