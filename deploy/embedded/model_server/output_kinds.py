"""Kinds of output beside text and tools, by `[output=…]`: what vendors stream, and fields that nobody documents.

`function_call` `refusal` `reasoning` `audio` `images` `unknown` (a field of the delta) `beside` (a field beside it);
of responses also `item` (nothing but the item when it is done) and `event` (an event that nobody documents).
"""

import base64
from typing import Any

# 24 kHz PCM16, a token for 50 ms.
SOUND = base64.b64encode(b"\0\1" * 1200).decode()
IMAGE = base64.b64encode(b"\0" * 300).decode()


def chat_delta(kind: str, text: str) -> dict[str, Any] | None:
    """The delta of a chunk; None: `kind` is nothing that stands in one."""
    deltas: dict[str, dict[str, Any]] = {
        "function_call": {"function_call": {"arguments": text}},
        "refusal": {"refusal": text},
        "reasoning": {"reasoning_content": text},
        "audio": {"audio": {"id": "audio_1", "data": SOUND}},
        "images": {"images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}]},
        "unknown": {"newer_output": {"parts": [text]}},
    }
    return deltas.get(kind)


def messages_event(kind: str, text: str) -> tuple[str, dict[str, Any]] | None:
    """Name and data of an event of `messages`."""
    delta = {
        "reasoning": {"type": "thinking_delta", "thinking": text},
        "unknown": {"type": "newer_delta", "newer": [text]},
    }.get(kind)
    if delta is not None:
        return "content_block_delta", {"index": 0, "delta": delta}
    if kind == "item":
        block = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"title": text}]}
        return "content_block_start", {"index": 1, "content_block": block}
    return ("newer_event", {"newer": text}) if kind == "event" else None


def responses_event(kind: str, text: str) -> tuple[str, dict[str, Any]] | None:
    """The same of `responses`."""
    events: dict[str, tuple[str, dict[str, Any]]] = {
        "refusal": ("refusal.delta", {"content_index": 0, "delta": text}),
        "reasoning": ("reasoning_summary_text.delta", {"summary_index": 0, "delta": text}),
        "audio": ("audio.delta", {"delta": SOUND}),
        "images": ("image_generation_call.partial_image", {"partial_image_b64": IMAGE}),
        "unknown": ("newer.delta", {"delta": {"parts": [text]}}),
        "event": ("newer.piece", {"piece": text}),
    }
    found = events.get(kind)
    return found and (f"response.{found[0]}", {"output_index": 0, "item_id": "item_1", **found[1]})
