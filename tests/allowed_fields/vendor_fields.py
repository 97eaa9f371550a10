"""The fields that each endpoint takes, from the vendors' own request types: `make allowed-fields` writes them to
gateway/endpoints/allowed_fields.txt, and a contract test compares the two.

Sources: the request types of the locked openai and anthropic packages, the recorded requests of Codex and Claude Code,
and extra_fields.toml. What unsafe_fields.toml names is in no list.
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from gateway.endpoints.parameters import LITELLM_PARAMETERS

ROOT: Final = Path(__file__).parents[2]
LISTED: Final = ROOT / "gateway" / "endpoints" / "allowed_fields.txt"
UNSAFE: Final = tomllib.loads((ROOT / "gateway" / "endpoints" / "unsafe_fields.toml").read_text())
EXTRA: Final = tomllib.loads(Path(__file__).with_name("extra_fields.toml").read_text())
# Where LiteLLM's own parameter and a vendor's field have one name: what is allowed all the same, and why.
LITELLM: Final = LITELLM_PARAMETERS - {
    # Of a realtime session as the server reports it; LiteLLM reads its own `id` from no event.
    "id",
}
RECORDED: Final = ROOT / "tests" / "clients" / "recorded"
# What the SDK takes by name and sends as a header.
HEADERS: Final = frozenset({"betas"})

CLIENTS: Final = {"codex.json": "responses", "claude-code.json": "messages"}
# In place of an endpoint: the keys that a tool of any type may have.
TOOL_KEYS: Final = "tool_keys"
# Sections of extra_fields.toml that hold for several endpoints.
SHARED: Final = {"text": ("chat_completions", "completions"), "messages": ("messages", "count_tokens")}
# Tools of the other vendor, which LiteLLM translates.
TOOLS_ALSO: Final = {"chat_completions": "messages", "responses": "messages", "messages": "responses",
                     "responses_compact": "responses", "responses_input_tokens": "responses"}  # fmt: skip


def request_types() -> Mapping[str, tuple[Any, ...]]:
    """By endpoint. The packages are imported here: it takes three seconds."""
    from anthropic.types import message_count_tokens_params, message_create_params
    from anthropic.types.beta import message_count_tokens_params as beta_count_tokens_params
    from anthropic.types.beta import message_create_params as beta_message_create_params
    from openai.types import (
        completion_create_params,
        embedding_create_params,
        image_edit_params,
        image_generate_params,
        moderation_create_params,
        realtime,
    )
    from openai.types.audio import speech_create_params, transcription_create_params, translation_create_params
    from openai.types.chat import completion_create_params as chat_create_params
    from openai.types.responses import input_token_count_params, response_compact_params, response_create_params

    return {
        "chat_completions": (chat_create_params.CompletionCreateParamsBase,),
        "completions": (completion_create_params.CompletionCreateParamsBase,),
        "responses": (response_create_params.ResponseCreateParamsBase,),
        "responses_compact": (response_compact_params.ResponseCompactParams,),
        "responses_input_tokens": (input_token_count_params.InputTokenCountParams,),
        "messages": (
            message_create_params.MessageCreateParamsBase,
            beta_message_create_params.ParseMessageCreateParamsBase,
        ),
        "count_tokens": (
            message_count_tokens_params.MessageCountTokensParams,
            beta_count_tokens_params.MessageCountTokensParams,
            # Applications send the message they are about to send.
            message_create_params.MessageCreateParamsBase,
            beta_message_create_params.MessageCreateParamsBase,
        ),
        "embeddings": (embedding_create_params.EmbeddingCreateParams,),
        "moderations": (moderation_create_params.ModerationCreateParams,),
        "rerank": (),
        "images": (image_generate_params.ImageGenerateParamsBase,),
        "image_edits": (image_edit_params.ImageEditParamsBase,),
        "speech": (speech_create_params.SpeechCreateParams,),
        "transcriptions": (transcription_create_params.TranscriptionCreateParamsBase,),
        "translations": (translation_create_params.TranslationCreateParams,),
        "realtime": (
            realtime.RealtimeSessionCreateRequestParam,
            realtime.RealtimeTranscriptionSessionCreateRequestParam,
            realtime.RealtimeResponseCreateParamsParam,
        ),
    }


def allowed_fields() -> dict[tuple[str, str], str]:
    """(endpoint, name or `tools.<type>`) → where it is documented."""
    found: dict[tuple[str, str], str] = {}
    for endpoint, kinds in request_types().items():
        for kind in kinds:
            package = kind.__module__.partition(".")[0]
            source = f"{package} {version(package)}"
            for name, hint in get_type_hints(kind).items():
                found.setdefault((endpoint, name), source)
                if name == "tools":
                    for tool in _tool_types(hint):
                        found.setdefault((endpoint, f"tools.{tool}"), source)
                    for key in _tool_keys(hint):
                        found.setdefault((TOOL_KEYS, key), source)
        # `false` where nothing is streamed; and what applications note for themselves steers nothing.
        found.setdefault((endpoint, "stream"), "every endpoint")
        found.setdefault((endpoint, "metadata"), "every endpoint")
    for (endpoint, name), source in _extra():
        found.setdefault((endpoint, name), source)
    for (endpoint, name), source in _recorded():
        found.setdefault((endpoint, name), source)
    for endpoint, other in TOOLS_ALSO.items():
        for (of, name), source in list(found.items()):
            if of == other and name.startswith("tools."):
                found.setdefault((endpoint, name), source)
    return {place: source for place, source in sorted(found.items()) if not _is_unsafe(*place)}


def _is_unsafe(endpoint: str, name: str) -> bool:
    if endpoint == TOOL_KEYS:
        return name in UNSAFE["tools"]
    if name.startswith("tools."):
        return name.removeprefix("tools.") in UNSAFE["tools"]
    return name in HEADERS or name in LITELLM or name in UNSAFE["*"] or name in UNSAFE.get(endpoint, {})


def _tool_types(hint: Any) -> Iterator[str]:
    if is_typeddict(hint):
        yield from _words(get_type_hints(hint).get("type"))
        return
    for inner in get_args(hint):
        yield from _tool_types(inner)


def _tool_keys(hint: Any) -> Iterator[str]:
    if is_typeddict(hint):
        yield from get_type_hints(hint)
        return
    for inner in get_args(hint):
        yield from _tool_keys(inner)


def _words(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
        return
    for inner in get_args(hint):
        yield from _words(inner)


def _extra() -> Iterator[tuple[tuple[str, str], str]]:
    for section, fields in EXTRA.items():
        prefix, _, endpoint = section.rpartition(".")
        of = SHARED.get(section, (endpoint,))
        for name, source in fields.items():
            yield from (((one, f"{prefix}.{name}" if prefix else name), source) for one in of)


def _recorded() -> Iterator[tuple[tuple[str, str], str]]:
    for file, endpoint in CLIENTS.items():
        recorded = json.loads((RECORDED / file).read_text())
        source = f"{recorded['client']} {recorded['version']}"
        for request in recorded["requests"]:
            body = request.get("body")
            if isinstance(body, dict):
                yield from (((endpoint, name), source) for name in body)
                keys = {key for tool in body.get("tools", ()) for key in tool}
                yield from (((TOOL_KEYS, key), source) for key in keys)
                types = {tool.get("type") for tool in body.get("tools", ())} - {None}
                yield from (((endpoint, f"tools.{one}"), source) for one in types)


def text() -> str:
    """What allowed_fields.txt holds."""
    lines = ["# endpoint, field, source; made by `make allowed-fields`, not by hand"]
    lines += [f"{endpoint} {name}  {source}" for (endpoint, name), source in allowed_fields().items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the list."""
    LISTED.write_text(text())
    sys.stdout.write(f"{LISTED.relative_to(ROOT)}: {len(allowed_fields())} fields\n")


if __name__ == "__main__":
    main()
