"""Prints the request fields that control LiteLLM itself, one per line. Run it with the interpreter LiteLLM is in.

Model parameters are left out: a field is LiteLLM's own when its lists of settings name it and its lists of model
parameters do not. `gateway/endpoints/litellm_parameters.txt` is this output, and a test compares the two.
"""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import litellm
from litellm.constants import OPENAI_CHAT_COMPLETION_PARAMS
from litellm.litellm_core_utils.initialize_dynamic_callback_params import _supported_callback_params
from litellm.proxy.auth.auth_utils import _BANNED_REQUEST_BODY_PARAMS
from litellm.proxy.litellm_pre_call_utils import (
    _UNTRUSTED_METADATA_CONTROL_FIELDS,
    _UNTRUSTED_ROOT_CONTROL_FIELDS,
    LITELLM_TRACE_CONTROL_METADATA_FIELDS,
)
from litellm.router_utils.fallback_event_handlers import PRE_ROUTING_SELECTED_MODEL_KEY
from litellm.types.router import CredentialLiteLLMParams, GenericLiteLLMParams, LiteLLM_Params
from litellm.types.utils import StandardCallbackDynamicParams, all_litellm_params

# In LiteLLM's list of chat parameters, but they control LiteLLM or its connection.
STEERING = {
    "api_base",
    "api_key",
    "api_version",
    "base_url",
    "default_headers",
    "deployment_id",
    "extra_headers",
    "max_retries",
    "organization",
    "request_timeout",
    "timeout",
}
# Read in LiteLLM's proxy and router code, in none of its lists.
UNLISTED = {
    "additional_drop_params",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "default_fallbacks",
    "default_max_parallel_requests",
    "default_model",
    "disable_fallbacks",
    "drop_params",
    "extra_body",
    "extra_query",
    "mock_tool_calls",
    "model_group",
    "model_group_alias",
    "model_group_retry_policy",
    "proxies",
    "router_settings_override",
    "specific_deployment",
    "user_config",
    "vector_store_ids",
}
# What LiteLLM reads in `metadata` beside the fields it strips there itself.
METADATA = {
    "api_base",
    "caching_groups",
    "deployment",
    "endpoint",
    "guardrail_config",
    "guardrails",
    "headers",
    "hidden_params",
    "model_group",
    "model_info",
    "policies",
    "previous_models",
    "prompt_id",
    "spend_logs_metadata",
    "tags",
}
# Code that reads a provider's response, declares types, or only writes to another system's log.
NOT_OF_REQUESTS = ("llms", "types", "integrations")
# Callers send it for the model's provider; LiteLLM's own keys in it are refused one by one.
ALLOWED = {"metadata", "model"}


def read_from_metadata() -> Iterator[str]:
    """The names LiteLLM's own code looks up in whatever has `metadata` in its name."""
    package = Path(litellm.__file__).parent
    for file in package.rglob("*.py"):
        if file.relative_to(package).parts[0] in NOT_OF_REQUESTS:
            continue
        source = file.read_bytes()
        if b"metadata" not in source.lower():
            continue
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Subscript(value=read, slice=ast.Constant(value=str(name))):
                    pass
                case ast.Call(
                    func=ast.Attribute(value=read, attr="get" | "pop" | "setdefault"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    pass
                case ast.Compare(left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()], comparators=[read]):
                    pass
                case _:
                    continue
            if "metadata" in ast.unparse(read).lower() and name.isprintable():
                yield name


def main() -> None:
    """Writes the version it was made from, then the names."""
    settings = (
        {*all_litellm_params, *_UNTRUSTED_ROOT_CONTROL_FIELDS, *_BANNED_REQUEST_BODY_PARAMS} | STEERING | UNLISTED
    )
    for kind in (CredentialLiteLLMParams, GenericLiteLLMParams, LiteLLM_Params):
        settings |= set(kind.model_fields)
    names = settings - (set(OPENAI_CHAT_COMPLETION_PARAMS) - STEERING) - ALLOWED
    print(f"# LiteLLM {version('litellm')}; made by `make litellm-parameters`, not by hand")
    print("\n".join(sorted(names)))
    in_metadata = METADATA | {*_UNTRUSTED_METADATA_CONTROL_FIELDS, *LITELLM_TRACE_CONTROL_METADATA_FIELDS}
    in_metadata |= {*StandardCallbackDynamicParams.__annotations__, *_supported_callback_params}
    in_metadata |= {PRE_ROUTING_SELECTED_MODEL_KEY, *read_from_metadata()}
    print("\n".join(f"metadata.{name}" for name in sorted(in_metadata)))


if __name__ == "__main__":
    main()
