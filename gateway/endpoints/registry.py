"""The endpoints that are forwarded, each a declaration: what differs between them and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.endpoints.allowed_fields import AllowedFields
from gateway.endpoints.answer_forms import CHOICES, DATA, RESULTS, TRANSCRIPT, AnswerForm
from gateway.endpoints.audio import parse_transcription, parse_translation, read_transcript
from gateway.endpoints.chat import parse_chat
from gateway.endpoints.chat_events import read_chat_answer, read_chat_event
from gateway.endpoints.media import parse_image_edit, parse_images, parse_speech
from gateway.endpoints.messages import parse_count, parse_messages
from gateway.endpoints.messages_events import new_messages_reader
from gateway.endpoints.requests import Call
from gateway.endpoints.responses import parse_compact, parse_input_tokens, parse_responses
from gateway.endpoints.responses_events import new_responses_reader, read_response
from gateway.endpoints.text import parse_completion, parse_embedding, parse_moderation, parse_ranking
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, read_answer, read_anthropic_answer, read_ranking
from gateway.web.errors import ErrorShape
from gateway.web.uploads import Upload


def _chat_reader() -> Reader:
    return read_chat_event


def read_nothing(_: bytes) -> ParsedUsage | None:
    """Of an answer that reports no usage."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """As what a call is forwarded, and how its answer is read.

    `name` goes into the ledger and metrics; `path` is the upstream's: nothing of the path or query of a request is
    forwarded. `new_event_reader` creates a reader for each stream. `types_events`: each event of a stream has an
    `event:` line and a `type`. `answer` is what a whole answer looks like; `rewrite` makes of one what the caller
    gets."""

    name: str
    path: str
    answer: AnswerForm
    read_answer: Reader = read_answer
    new_event_reader: Callable[[], Reader] = _chat_reader
    error_shape: ErrorShape = "openai"
    types_events: bool = False
    method: Literal["POST", "GET", "DELETE"] = "POST"
    rewrite: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class FormParser:
    """Of an endpoint that takes a form with files."""

    parse: Callable[[Upload, AllowedFields], Call]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Declaration):
    """`path` is the caller's as well; `aliases` are paths that other clients use for the same. `parse` makes a call of
    the body in JSON, and of the model of the path, if it names one; or of a form."""

    parse: Callable[[bytes, AllowedFields, str | None], Call] | FormParser
    aliases: tuple[str, ...] = ()


ENDPOINTS: Final = (
    Endpoint(
        name="chat_completions",
        path="/v1/chat/completions",
        answer=CHOICES,
        parse=parse_chat,
        read_answer=read_chat_answer,
    ),
    Endpoint(name="completions", path="/v1/completions", answer=CHOICES, parse=parse_completion),
    Endpoint(
        name="responses",
        path="/v1/responses",
        answer=AnswerForm(("output",)),
        parse=parse_responses,
        read_answer=read_response,
        new_event_reader=new_responses_reader,
        types_events=True,
    ),
    Endpoint(
        name="responses_compact",
        path="/v1/responses/compact",
        answer=AnswerForm(("output",)),
        parse=parse_compact,
    ),
    Endpoint(
        name="responses_input_tokens",
        path="/v1/responses/input_tokens",
        answer=AnswerForm(("input_tokens",)),
        parse=parse_input_tokens,
        read_answer=read_nothing,
    ),
    Endpoint(
        name="messages",
        path="/v1/messages",
        answer=AnswerForm(("content",)),
        parse=parse_messages,
        read_answer=read_anthropic_answer,
        new_event_reader=new_messages_reader,
        error_shape="anthropic",
        types_events=True,
    ),
    Endpoint(
        name="count_tokens",
        path="/v1/messages/count_tokens",
        answer=AnswerForm(("input_tokens",)),
        parse=parse_count,
        read_answer=read_nothing,
        error_shape="anthropic",
    ),
    Endpoint(name="embeddings", path="/v1/embeddings", answer=DATA, parse=parse_embedding),
    Endpoint(name="moderations", path="/v1/moderations", answer=RESULTS, parse=parse_moderation),
    Endpoint(
        name="rerank",
        path="/v1/rerank",
        answer=RESULTS,
        aliases=("/v2/rerank",),
        parse=parse_ranking,
        read_answer=read_ranking,
    ),
    Endpoint(name="images", path="/v1/images/generations", answer=DATA, parse=parse_images, types_events=True),
    Endpoint(
        name="image_edits", path="/v1/images/edits", answer=DATA, parse=FormParser(parse_image_edit), types_events=True
    ),
    Endpoint(
        name="speech",
        path="/v1/audio/speech",
        answer=AnswerForm(is_sound=True),
        parse=parse_speech,
        read_answer=read_nothing,
        types_events=True,
    ),
    Endpoint(
        name="transcriptions",
        path="/v1/audio/transcriptions",
        answer=TRANSCRIPT,
        parse=FormParser(parse_transcription),
        read_answer=read_transcript,
        types_events=True,
    ),
    Endpoint(
        name="translations",
        path="/v1/audio/translations",
        answer=TRANSCRIPT,
        parse=FormParser(parse_translation),
        read_answer=read_transcript,
    ),
)
