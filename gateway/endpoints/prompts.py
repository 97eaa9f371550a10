"""Estimates what a prompt holds: texts by their characters, attachments at a fixed amount whatever their bytes."""

from typing import Any

import msgspec

from gateway.domain.estimates import TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, estimate_text

# Below these a string is data of an attachment, not text: https://platform.openai.com/docs/api-reference/chat
ATTACHMENT_TYPES = frozenset(
    {"image_url", "input_audio", "file", "image", "document", "input_image", "input_file", "video_url"}
)

_encode = msgspec.json.Encoder().encode


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


Messages = list[_Message]


def estimate_messages(messages: Messages) -> float:
    """Tokens of a chat's messages."""
    tokens = 0.0
    texts: list[str] = []
    for message in messages:
        tokens += TOKENS_PER_MESSAGE
        if isinstance(message.content, str):
            texts.append(message.content)
        elif message.content:
            tokens += estimate_parts(message.content, texts)
        for raw in (message.tool_calls, message.function_call):
            if bytes(raw):
                tokens += estimate_text(bytes(raw))
        texts.extend(text for text in (message.name, message.reasoning_content, message.refusal) if text)
    return tokens + estimate_text("".join(texts).encode(errors="surrogatepass"))


def estimate_parts(parts: list[dict[str, Any]], texts: list[str]) -> float:
    """Tokens of a message's attachments; its texts are added to `texts`."""
    tokens = 0.0
    for part in parts:
        if part.get("type") in ATTACHMENT_TYPES:
            tokens += TOKENS_PER_ATTACHMENT
        elif isinstance(text := part.get("text"), str):
            texts.append(text)
        else:
            # A tool's result, say, which may hold attachments in turn.
            rest, attachments = _take_out_attachments(part)
            tokens += TOKENS_PER_ATTACHMENT * attachments
            texts.append(_encode(rest).decode())
    return tokens


def _take_out_attachments(value: Any) -> tuple[Any, int]:
    """What is left of it, and how many there were. Bodies are at most MOST_DEPTH deep."""
    if isinstance(value, str):
        is_data = value.startswith("data:") and ";base64," in value[:200]
        return ("", 1) if is_data else (value, 0)
    if isinstance(value, dict):
        if value.get("type") in ATTACHMENT_TYPES:
            return None, 1
        pairs = {key: _take_out_attachments(inner) for key, inner in value.items()}
        return {key: rest for key, (rest, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, list):
        items = [_take_out_attachments(inner) for inner in value]
        return [rest for rest, _ in items], sum(count for _, count in items)
    return value, 0


def estimate_content(content: str | list[dict[str, Any]] | None) -> float:
    """Tokens of a text or of a list of parts."""
    texts = [content] if isinstance(content, str) else []
    tokens = estimate_parts(content, texts) if isinstance(content, list) else 0.0
    return tokens + estimate_text("".join(texts).encode(errors="surrogatepass"))


def estimate_raw(raw: msgspec.Raw | None) -> float:
    """Tokens of a piece of JSON that goes into the prompt as it is: tools, a schema."""
    return estimate_text(bytes(raw)) if raw is not None else 0.0
