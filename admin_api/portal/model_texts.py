"""How what models do is named."""

from collections.abc import Mapping
from typing import Final

from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit

# As LiteLLM names them; what is not here is shown as it is.
MODES: Final[Mapping[str, str]] = {
    "chat": marked("Chat"),
    "completion": marked("Completion"),
    "responses": marked("Responses"),
    "embedding": marked("Embeddings"),
    "image_generation": marked("Pictures"),
    "image_edit": marked("Changes of pictures"),
    "audio_speech": marked("Speech from text"),
    "audio_transcription": marked("Text from speech"),
    "moderation": marked("Moderation"),
    "rerank": marked("Reranking"),
    "realtime": marked("Realtime"),
}
CAPABILITIES: Final[Mapping[str, str]] = {
    "function_calling": marked("tools"),
    "parallel_function_calling": marked("several tools at once"),
    "tool_choice": marked("choice of a tool"),
    "vision": marked("pictures"),
    "reasoning": marked("reasoning"),
    "response_schema": marked("JSON by a schema"),
    "audio_input": marked("audio in"),
    "audio_output": marked("audio out"),
    "pdf_input": marked("PDF"),
    "web_search": marked("web search"),
    "url_context": marked("web pages"),
    "computer_use": marked("use of a computer"),
    "prompt_caching": marked("cached prompts"),
    "system_messages": marked("system messages"),
    "assistant_prefill": marked("begun answers"),
    "native_streaming": marked("streaming"),
}


def mode_text(visit: Visit, mode: str) -> str:
    """What a model of this mode does, in the person's language."""
    return visit.messages.gettext(MODES[mode]) if mode in MODES else mode


def capability_text(visit: Visit, capability: str) -> str:
    """In the person's language."""
    known = CAPABILITIES.get(capability)
    return visit.messages.gettext(known) if known else capability.replace("_", " ")
