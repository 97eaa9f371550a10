"""The playground: a conversation with a model that the person is subscribed to, through the gateway.

With JavaScript the answer is relayed as it comes; without, the form brings the page with the whole answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
from starlette.responses import Response

from admin_api.operations.keys.session_keys import SessionKeys, open_session_key
from admin_api.operations.playground.chats import (
    Chat,
    ChatAnswer,
    ChatMessage,
    complete,
    find_figures,
    list_chat_models,
)
from admin_api.operations.playground.gateway_link import ChatCall, GatewayLink
from admin_api.operations.validation import invalid
from admin_api.portal.call_figures import figures_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.rendering import Page
from admin_api.portal.snippets import CLIENTS, snippet_of
from admin_api.portal.visits import Visit
from admin_api.web.addresses import address_of
from admin_api.web.cookies import read_cookie
from admin_api.web.relay import Relay
from gateway.domain.errors import GatewayError
from gateway.web.disconnects import InterruptOnDisconnect

PARAMETERS: Final = ("temperature", "top_p", "max_tokens")
FIELDS: Final = ("model", "prompt", "system", *PARAMETERS)
MAX_NUMBER: Final = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page has: the conversation so far, what is in the fields, and what became of the last message."""

    messages: Sequence[ChatMessage] = ()
    sent: Mapping[str, str] = field(default_factory=dict)
    refused: Refusal = NONE
    answer: ChatAnswer | None = None
    figures: Sequence[tuple[str, str]] = ()
    body: Mapping[str, Any] | None = None


async def show(visit: Visit) -> Page:
    """An empty conversation, with the model of the address."""
    sent = dict.fromkeys(FIELDS, "") | {"model": visit.query("model") or "", "prompt": visit.query("prompt") or ""}
    return await _page(visit, Shown(sent=sent))


async def ask(visit: Visit) -> Page:
    """Without JavaScript: the page with the whole answer."""
    sent = typed(visit, *FIELDS) | {"prompt": _text(visit, "prompt"), "system": _text(visit, "system")}
    shown = Shown(sent=sent)
    try:
        shown = Shown(_messages(visit), sent)
        chat = _chat(visit)
        answer = await _complete(visit, await _call(visit, chat))
    except GatewayError as error:
        return await _page(visit, Shown(shown.messages, sent, _refusal(visit, error)))
    if answer.refused is not None:
        return await _page(visit, Shown(shown.messages, sent, answer=answer))
    figures = figures_of(visit, await find_figures(visit.pool, visit.actor, answer.request_id), answer.headers)
    messages = [*chat.messages, ChatMessage("assistant", answer.text)]
    return await _page(visit, Shown(messages, {**sent, "prompt": ""}, NONE, answer, figures, chat.body()))


async def stream(visit: Visit) -> Response:
    """With JavaScript: the gateway's own answer, and behind it one event `litemaas` with the figures of the call."""
    chat = _chat(visit)
    call = await _call(visit, chat, stream=True, stream_options={"include_usage": True})
    return Relay(partial(_link(visit).open, call), partial(_last_event, visit, chat))


async def _last_event(visit: Visit, chat: Chat, headers: Mapping[str, str]) -> bytes:
    found = await find_figures(visit.pool, visit.actor, headers.get("x-request-id", ""))
    reported = {
        "figures": figures_of(visit, found, headers),
        "snippets": snippet_of(visit, chat.model, "chat", chat.body()).all(),
    }
    return b"event: litemaas\ndata: " + msgspec.json.encode(reported) + b"\n\n"


async def _call(visit: Visit, chat: Chat, **more: Any) -> ChatCall:
    """With the key of the person's session."""
    chat.check()
    settings = visit.settings
    made = SessionKeys(settings.peppers, settings.encryption_keys, min(settings.session_key_s, settings.session_idle_s))
    key = await open_session_key(visit.pool, visit.actor, made, read_cookie(visit.request, "session"))
    return ChatCall(key, chat.body() | more, address_of(visit.request))


async def _complete(visit: Visit, call: ChatCall) -> ChatAnswer:
    """Who does not wait for the page ends the call."""
    answer = ChatAnswer("")
    with InterruptOnDisconnect(visit.request.receive):
        answer = await complete(_link(visit), call)
    return answer


def _link(visit: Visit) -> GatewayLink:
    link: GatewayLink = visit.request.app.state.gateway_link
    return link


async def _page(visit: Visit, shown: Shown) -> Page:
    names = await list_chat_models(visit.pool, visit.actor)
    asked = shown.sent["model"] or next(iter(names), "")
    refusal = shown.answer.refused if shown.answer else None
    context = {
        "models": names,
        "options": [(name, name) for name in names],
        "asked": asked,
        "shown": shown,
        "conversation": json.dumps([list(one) for one in shown.messages]),
        "refusal": refusal,
        "clients": CLIENTS,
        "snippets": snippet_of(visit, asked, "chat", shown.body).all(),
    }
    status = refusal.status if refusal else shown.refused.status
    return Page("playground.html", visit.messages.gettext("Playground"), context, status)


def _refusal(visit: Visit, error: GatewayError) -> Refusal:
    """Beside its field, or above the form where the gateway does not answer; other errors are raised again."""
    if error.code in ("upstream_unavailable", "upstream_timeout", "upstream_error"):
        return Refusal(visit.in_language(error.message), status=error.status)
    return refusal_of(visit, error, *FIELDS)


def _chat(visit: Visit) -> Chat:
    """Of the form. Raises GatewayError `validation_failed`."""
    return Chat(
        model=visit.field("model") or "",
        messages=[*_messages(visit), ChatMessage("user", _text(visit, "prompt"))],
        system=_text(visit, "system") or None,
        temperature=_number(visit, "temperature"),
        top_p=_number(visit, "top_p"),
        max_tokens=_count(visit, "max_tokens"),
    )


def _messages(visit: Visit) -> list[ChatMessage]:
    """The conversation so far, which the page keeps in a hidden field."""
    try:
        return msgspec.json.decode(_text(visit, "conversation") or "[]", type=list[ChatMessage])
    except msgspec.DecodeError:
        raise invalid("prompt", visit.messages.gettext("The conversation cannot be read. Begin a new one.")) from None


def _text(visit: Visit, name: str) -> str:
    """Of any length that the body may have. Browsers send lines with CR LF."""
    value = visit.form.get(name) if visit.form is not None else None
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else ""


def _number(visit: Visit, name: str) -> float | None:
    text = visit.field(name)
    if text is None:
        return None
    plain = text.replace(",", ".")
    if len(plain) > MAX_NUMBER or not plain.replace(".", "", 1).isdecimal() or not plain.isascii():
        raise invalid(name, visit.messages.gettext("Write a number."))
    return float(plain)


def _count(visit: Visit, name: str) -> int | None:
    number = _number(visit, name)
    if number is not None and not number.is_integer():
        raise invalid(name, visit.messages.gettext("Write a whole number."))
    return None if number is None else int(number)
