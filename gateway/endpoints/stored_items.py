"""Items of a conversation that a provider stores with its responses. Some bring more into a prompt than they say: what
a model reasoned, drew or found is put there by the item's id alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.endpoints.prompts import Messages
from gateway.upstream.client import Body

MAX_ITEMS: Final = 2000
# Types of items that say all there is to them, whatever is stored under their id.
SELF_CONTAINED: Final = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "message",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
    }
)
# What an item has that says nothing of what it is about.
_NAMING: Final = frozenset({"id", "type", "status", "role", "phase", "created_by"})
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class StoredItems:
    """Items in an input that their ids complete. `bare` are the ids of those that say nothing themselves, `param` is
    the field that they are in; `rename` is the body with other ids in place of these, None where all are bare."""

    ids: tuple[str, ...]
    bare: frozenset[str]
    param: str
    rename: Callable[[Mapping[str, str]], Body] | None


def find_spoken_answers(messages: Messages) -> StoredItems | None:
    """Of a chat: answers in sound, which are sent back as their id. Raises `invalid_request`."""
    found = [message.audio.get("id") for message in messages if isinstance(message.audio, dict)]
    ids = _unique([name for name in found if name is not None], "messages")
    return StoredItems(ids, frozenset(ids), "messages", None) if ids else None


def is_completed_by_id(kind: Any, encrypted_content: Any) -> bool:
    """Whether the provider adds what it stored under the item's id."""
    return kind is not None and not is_self_contained(kind) and not encrypted_content


def is_self_contained(kind: Any) -> bool:
    """Whether an item of this type says all there is to it."""
    return isinstance(kind, str) and kind in SELF_CONTAINED


def is_bare(item: Any) -> bool:
    """Whether it names an item, and is none itself."""
    if not isinstance(item, dict) or item.get("id") is None:
        return False
    return all(value in _EMPTY for name, value in item.items() if name not in _NAMING)


def find_stored_items(value: Any, encode: Callable[[msgspec.Raw], Body]) -> StoredItems | None:
    """Of the input of a call; `encode` makes the body with another input. Raises `invalid_request`."""
    if not isinstance(value, list):
        return None
    found = [item for item in value if _needs_owner(item)]
    if not found:
        return None
    ids = _unique([item["id"] for item in found], "input")

    def rename(names: Mapping[str, str]) -> Body:
        renamed = [
            {**item, "id": names[item["id"]]} if _needs_owner(item) and item["id"] in names else item for item in value
        ]
        return encode(msgspec.Raw(msgspec.json.encode(renamed)))

    return StoredItems(ids, frozenset(item["id"] for item in found if is_bare(item)), "input", rename)


def _unique(names: list[Any], param: str) -> tuple[str, ...]:
    if not all(isinstance(name, str) for name in names):
        raise GatewayError("invalid_request", "The 'id' of a stored item must be a text.", param=param)
    ids = tuple(dict.fromkeys(names))
    if len(ids) > MAX_ITEMS:
        message = f"'{param}' names more than {MAX_ITEMS} stored items."
        raise GatewayError("invalid_request", message, param=param)
    return ids


def _needs_owner(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("id") is None:
        return False
    return is_completed_by_id(item.get("type"), item.get("encrypted_content"))
