"""`metadata`: free fields for applications, some of which LiteLLM reads as instructions.

It is rewritten so that nothing in it controls LiteLLM. Where LiteLLM keeps `metadata` for its log and does not send it
to the model, the application's fields are put under one key. Anthropic accepts only `user_id`. OpenAI stores the
metadata of a response and returns it: there, keys that LiteLLM reads are renamed. Beside it, nothing is sent.
"""

from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.endpoints.parameters import LITELLM_METADATA, LITELLM_PARAMETERS, METADATA_PREFIXES

WRAPPED: Final = "application"
RENAMED: Final = "app_"
# What is noted of a response is stored with it.
_STORED: Final = ("responses", "realtime")
_ANTHROPIC: Final = ("messages", "count_tokens")
# The provider takes none, and LiteLLM would send it.
NOT_SENT: Final = ("responses_compact", "responses_input_tokens")


def shield_metadata(endpoint: str, fields: dict[str, msgspec.Raw]) -> None:
    """Changes `metadata` in `fields`; null is absence. Raises `invalid_request` where it must be an object."""
    raw = fields.pop("metadata", None)
    if raw is None or bytes(memoryview(raw)[:4]) == b"null" or endpoint in NOT_SENT:
        return
    if endpoint not in (*_STORED, *_ANTHROPIC):
        fields["metadata"] = msgspec.Raw(b'{"%s":%s}' % (WRAPPED.encode(), bytes(raw)))
        return
    # A text would be decoded by LiteLLM, which might find an object in it.
    metadata: Any = msgspec.json.decode(raw)
    if not isinstance(metadata, dict):
        raise GatewayError("invalid_request", "'metadata' must be an object.", param="metadata")
    if endpoint in _ANTHROPIC:
        kept = {"user_id": metadata["user_id"]} if isinstance(metadata.get("user_id"), str) else {}
    else:
        kept = {_safe(name): value for name, value in metadata.items()}
    if kept:
        fields["metadata"] = msgspec.Raw(msgspec.json.encode(kept))


def _safe(name: str) -> str:
    is_read = name in LITELLM_METADATA or name in LITELLM_PARAMETERS or name.startswith(METADATA_PREFIXES)
    return RENAMED + name if is_read else name
