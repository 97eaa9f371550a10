"""`metadata`, in which applications note what they like, and in which LiteLLM looks for orders to itself.

It is sent so that nothing in it steers LiteLLM. Where LiteLLM keeps `metadata` to itself (it goes to its log and not to
the model), the application's is put under one key of its own. Anthropic takes `user_id` alone. OpenAI stores what
is noted of a response, and tells it: there a key that LiteLLM reads gets another name.
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


def shield_metadata(endpoint: str, fields: dict[str, msgspec.Raw]) -> None:
    """Changes `metadata` in `fields`; null is absence. Raises `invalid_request` where it must be an object."""
    raw = fields.pop("metadata", None)
    if raw is None or bytes(memoryview(raw)[:4]) == b"null":
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
