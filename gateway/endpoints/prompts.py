"""Estimates what a prompt holds: texts by their characters, attachments at a fixed amount whatever their bytes."""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, estimate_text

# Below these a string is data of an attachment, not text: https://platform.openai.com/docs/api-reference/chat
ATTACHMENT_TYPES = frozenset(
    {"image_url", "input_audio", "file", "image", "document", "input_image", "input_file", "video_url"}
)

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Attachments:
    """Pictures, sounds and files in a prompt: how many, and how much of the body they are."""

    count: int = 0
    size: int = 0

    def add(self, size: int, count: int = 1) -> None:
        """Bytes of the body."""
        self.count += count
        self.size += size

    def bound(self, body: bytes) -> int:
        """What the prompt has at most, in tokens: a byte of text is one at most, an attachment its fixed amount."""
        return len(body) - self.size + self.count * TOKENS_PER_ATTACHMENT


class _Message(msgspec.Struct):
    """What is estimated of it, of any type: whether a message is valid is the model's to say."""

    content: str | list[msgspec.Raw] | dict[str, msgspec.Raw] | float | bool | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    name: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    # Of an answer that was spoken: {"id": …} stands for all of it.
    audio: Any = None


class _Part(msgspec.Struct):
    """The fields that identify a part. The data of an image may be 20 MiB and is not decoded."""

    type: Any = None
    text: msgspec.Raw = msgspec.Raw()
    source: msgspec.Raw = msgspec.Raw()


class _Source(msgspec.Struct):
    type: Any = None


Messages = list[_Message]
Content = str | list[msgspec.Raw] | None
_decode_part = msgspec.json.Decoder(_Part).decode
_decode_source = msgspec.json.Decoder(_Source).decode
# Anthropic's documents that are text: https://docs.anthropic.com/en/docs/build-with-claude/citations
_TEXT_SOURCES = ("text", "content")


def is_attachment(part: dict[str, Any]) -> bool:
    """Whether a part has data that counts a fixed amount. A document may also be plain text, which counts as text."""
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in ATTACHMENT_TYPES:
        return False
    source = part.get("source")
    is_text = isinstance(source, dict) and source.get("type") in _TEXT_SOURCES
    return not is_text and not isinstance(part.get("text"), str)


def _is_attachment(part: _Part) -> bool:
    if not isinstance(part.type, str) or part.type not in ATTACHMENT_TYPES or bytes(memoryview(part.text)[:1]) == b'"':
        return False
    starts_object = bytes(memoryview(part.source)[:1]) == b"{"
    return not starts_object or _decode_source(part.source).type not in _TEXT_SOURCES


def estimate_messages(messages: Messages, found: Attachments) -> float:
    """Tokens of a chat's messages. Raises `invalid_request` for a part that is none."""
    tokens = 0.0
    texts: list[str] = []
    for message in messages:
        tokens += TOKENS_PER_MESSAGE
        if isinstance(message.content, str):
            texts.append(message.content)
        elif isinstance(message.content, list):
            tokens += _estimate_parts(message.content, texts, found)
        elif isinstance(message.content, dict):
            # A tool's result that is JSON and was not written as text.
            tokens += _estimate_parts([msgspec.Raw(_encode(message.content))], texts, found)
        for raw in (message.tool_calls, message.function_call):
            if bytes(raw):
                tokens += estimate_text(bytes(raw))
        texts.extend(
            text for text in (message.name, message.reasoning_content, message.refusal) if isinstance(text, str)
        )
    return tokens + estimate_text("".join(texts).encode(errors="surrogatepass"))


def _estimate_parts(parts: list[msgspec.Raw], texts: list[str], found: Attachments) -> float:
    """Tokens of a message's attachments; its texts are added to `texts`."""
    tokens = 0.0
    for raw in parts:
        try:
            part = _decode_part(raw)
            if _is_attachment(part):
                tokens += TOKENS_PER_ATTACHMENT
                found.add(len(memoryview(raw)))
            elif bytes(memoryview(part.text)[:1]) == b'"':
                texts.append(msgspec.json.decode(part.text, type=str))
            else:
                # A tool's result, say, which may hold attachments in turn.
                rest, attachments = take_out_attachments(msgspec.json.decode(raw))
                left = _encode(rest)
                tokens += TOKENS_PER_ATTACHMENT * attachments
                found.add(max(0, len(memoryview(raw)) - len(left)) if attachments else 0, attachments)
                texts.append(left.decode())
        except (msgspec.MsgspecError, RecursionError):
            message = "Each part of a message's content must be an object with a type."
            raise GatewayError("invalid_request", message, param="messages") from None
    return tokens


def take_out_attachments(value: Any) -> tuple[Any, int]:
    """What is left of a value, and how many attachments there were in it. Bodies are at most MAX_DEPTH deep."""
    if isinstance(value, str):
        is_data = value.startswith("data:") and ";base64," in value[:200]
        return ("", 1) if is_data else (value, 0)
    if isinstance(value, dict):
        if is_attachment(value):
            return None, 1
        pairs = {key: take_out_attachments(inner) for key, inner in value.items()}
        return {key: rest for key, (rest, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, list):
        items = [take_out_attachments(inner) for inner in value]
        return [rest for rest, _ in items], sum(count for _, count in items)
    return value, 0


def estimate_content(content: Content, found: Attachments) -> float:
    """Tokens of a text or of a list of parts."""
    texts = [content] if isinstance(content, str) else []
    tokens = _estimate_parts(content, texts, found) if isinstance(content, list) else 0.0
    return tokens + estimate_text("".join(texts).encode(errors="surrogatepass"))


def estimate_raw(raw: msgspec.Raw | None) -> float:
    """Tokens of a piece of JSON that goes into the prompt as it is: tools, a schema."""
    return estimate_text(bytes(raw)) if raw is not None else 0.0
