"""Prints the request fields by which LiteLLM steers itself, one a line. Run by the interpreter LiteLLM is in.

What models take is left out: a field is LiteLLM's own when its lists of settings name it and its lists of model
parameters do not. `gateway/endpoints/litellm_parameters.txt` is this output, and a test compares the two.
"""

from importlib.metadata import version

from litellm.constants import OPENAI_CHAT_COMPLETION_PARAMS
from litellm.proxy.litellm_pre_call_utils import _UNTRUSTED_METADATA_CONTROL_FIELDS, _UNTRUSTED_ROOT_CONTROL_FIELDS
from litellm.types.router import CredentialLiteLLMParams, GenericLiteLLMParams, LiteLLM_Params
from litellm.types.utils import all_litellm_params

# In LiteLLM's list of what a chat takes, but steering LiteLLM or its connection all the same.
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
    "disable_fallbacks",
    "drop_params",
    "extra_body",
    "extra_query",
    "mock_tool_calls",
    "model_group",
    "proxies",
    "specific_deployment",
    "user_config",
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
# Callers send it for the model's provider; LiteLLM's own keys in it are refused one by one.
ALLOWED = {"metadata", "model"}


def main() -> None:
    """Writes the version it was made from, then the names."""
    settings = set(all_litellm_params) | set(_UNTRUSTED_ROOT_CONTROL_FIELDS) | STEERING | UNLISTED
    for kind in (CredentialLiteLLMParams, GenericLiteLLMParams, LiteLLM_Params):
        settings |= set(kind.model_fields)
    names = settings - (set(OPENAI_CHAT_COMPLETION_PARAMS) - STEERING) - ALLOWED
    print(f"# LiteLLM {version('litellm')}; made by `make litellm-parameters`, not by hand")
    print("\n".join(sorted(names)))
    print("\n".join(f"metadata.{name}" for name in sorted(METADATA | set(_UNTRUSTED_METADATA_CONTROL_FIELDS))))


if __name__ == "__main__":
    main()
