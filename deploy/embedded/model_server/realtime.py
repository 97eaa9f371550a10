"""`WebSocket /v1/realtime?model=NAME`: a session with text and audio, with the events of OpenAI's realtime API.

Text counts a token a word. Sound that comes in counts a token for 100 ms of 24 kHz PCM16; sound that goes out is as
many audio tokens as words are said. Each response reads the whole conversation, and is billed for it. Directives as in
plan.py, in the last item of the user; also `[fault=cut]` (the connection breaks without a close frame), `[fault=hang]`
(no response), `[fault=error-event]` (the response fails midway), `[fault=no-usage]`, and the refusals, which fail a
response before it costs anything. Any model named `refused-…` is refused with 401.
"""

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from deploy.embedded.model_server.calls import Call, Calls, Ending
from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.model_server.faults import REFUSALS
from deploy.embedded.model_server.generate import made_tokens
from deploy.embedded.model_server.plan import Pace, Plan, Prompt, Refused, directives, plan
from deploy.embedded.model_server.shapes import limit
from deploy.embedded.model_server.words import count_words, word

BYTES_A_MS = 48
MS_A_TOKEN = 100
SILENCE = base64.b64encode(bytes(BYTES_A_MS * MS_A_TOKEN)).decode()


class Realtime:
    """The endpoint: each session is one call in the record."""

    def __init__(self, calls: Calls, pace: Pace) -> None:
        self._calls = calls
        self._pace = pace

    async def serve(self, websocket: WebSocket) -> None:
        model = websocket.query_params.get("model", "")
        call = Call(
            ordinal=self._calls.next_ordinal(),
            endpoint="realtime",
            model=model,
            call_id=websocket.headers.get("x-litellm-call-id"),
            user=None,
            mark=None,
            stream=True,
            fields=sorted(websocket.query_params),
            started_at=time.time(),
        )
        self._calls.open(call)
        if model.startswith("refused-"):
            refusal = REFUSALS["401"]
            call.status = refusal.status
            self._calls.close(call, "refused")
            await websocket.send_denial_response(Response(refusal.body, refusal.status))
            return
        session = _Session(websocket, call, self._pace)
        try:
            await session.run()
        finally:
            self._calls.close(call, session.ending)


@dataclass(slots=True)
class _Conversation:
    """The conversation so far, which every response reads."""

    text_tokens: int = 0
    audio_tokens: int = 0
    last_text: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    sound: int = 0  # bytes that wait to be an item

    def add(self, item: dict[str, Any]) -> None:
        content = item.get("content")
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
        self.text_tokens += TOKENS_PER_MESSAGE + sum(map(count_words, texts))
        for part in parts:
            if isinstance(part.get("audio"), str):
                self.audio_tokens += _audio_tokens(len(base64.b64decode(part["audio"])))
        if texts:
            self.last_text = "\n".join(texts)

    def commit(self) -> None:
        self.text_tokens += TOKENS_PER_MESSAGE
        self.audio_tokens += _audio_tokens(self.sound)
        self.sound = 0


def _audio_tokens(size: int) -> int:
    return -(-size // (BYTES_A_MS * MS_A_TOKEN))


class _Session:
    def __init__(self, websocket: WebSocket, call: Call, pace: Pace) -> None:
        self._websocket = websocket
        self._call = call
        self._pace = pace
        self._talk = _Conversation()
        self._responding: asyncio.Task[None] | None = None
        self._responses = 0
        self.ending: Ending = "complete"

    async def run(self) -> None:
        await self._websocket.accept()
        session: dict[str, Any] = {"type": "realtime", "object": "realtime.session", "model": self._call.model}
        session |= {"id": f"sess_{self._call.ordinal}", "output_modalities": ["text"]}
        self._talk.settings = session
        await self._send("session.created", session=session)
        try:
            while self.ending == "complete":
                receiving = asyncio.ensure_future(self._websocket.receive_text())
                waiting = {receiving} | ({self._responding} if self._responding else set())
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if self._responding and self._responding.done():
                    if not self._responding.cancelled():
                        self._responding.result()
                    self._responding = None
                if self.ending != "complete":
                    # Without a close frame: the server then closes the connection.
                    receiving.cancel()
                    return
                await self._take(msgspec.json.decode(await receiving))
        except (WebSocketDisconnect, RuntimeError):
            if self._responding and not self._responding.done():
                self.ending = "hung_up"
        finally:
            if self._responding:
                self._responding.cancel()

    async def _send(self, kind: str, **event: Any) -> None:
        body = {"type": kind, "event_id": f"event_{time.time_ns():x}"} | event
        await self._websocket.send_text(msgspec.json.encode(body).decode())

    async def _refuse(self, message: str, code: str, event: dict[str, Any]) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        await self._send("error", error=error | {"event_id": event.get("event_id")})

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "session.update":
            self._talk.settings |= event.get("session") or {}
            await self._send("session.updated", session=self._talk.settings)
        elif kind == "conversation.item.create":
            item = {"id": f"item_{time.time_ns():x}"} | event["item"]
            self._talk.add(item)
            await self._send("conversation.item.added", previous_item_id=None, item=item)
            await self._send("conversation.item.done", previous_item_id=None, item=item)
        elif kind == "input_audio_buffer.append":
            self._talk.sound += len(base64.b64decode(event["audio"]))
        elif kind == "input_audio_buffer.commit":
            self._talk.commit()
            await self._send("input_audio_buffer.committed", previous_item_id=None, item_id=f"item_{time.time_ns():x}")
            # Like voice detection: speech is followed by a response.
            if (self._talk.settings.get("audio") or {}).get("input", {}).get("turn_detection"):
                await self._respond({})
        elif kind == "response.create":
            await self._respond(event.get("response") or {}, event)
        elif kind == "response.cancel":
            if self._responding:
                self._responding.cancel()
        else:
            await self._refuse(f"Invalid value: '{kind}'.", "invalid_value", event)

    async def _respond(self, asked: dict[str, Any], event: dict[str, Any] | None = None) -> None:
        if self._responding:
            message = "Conversation already has an active response in progress."
            await self._refuse(message, "conversation_already_has_active_response", event or {})
            return
        self._responses += 1
        maximum = limit(asked, "max_output_tokens")
        talk = self._talk
        prompt = Prompt(talk.last_text, talk.text_tokens + talk.audio_tokens, maximum)
        self._call.mark = directives(talk.last_text).get("mark") or self._call.mark
        try:
            planned = plan({"model": self._call.model, "stream": True}, prompt, self._pace, f"{self._responses}")
        except Refused as refused:
            await self._refuse(refused.refusal.body.decode(), "invalid_request", event or {})
            return
        modalities = asked.get("output_modalities") or talk.settings.get("output_modalities")
        answer = _Answer(self, planned, talk.audio_tokens, is_audio=modalities == ["audio"])
        self._responding = asyncio.ensure_future(self._answer(answer))

    async def _answer(self, answer: "_Answer") -> None:
        ending = await answer.give(self._call)
        if ending == "cut":
            self.ending = "cut"
        self._talk.text_tokens += answer.said


class _Answer:
    """One response: its events and its billed usage."""

    def __init__(self, session: _Session, planned: Plan, audio_in: int, *, is_audio: bool) -> None:
        self._send = session._send
        self._plan = planned
        self._audio_in = audio_in
        self._is_audio = is_audio
        self.said = 0

    async def give(self, call: Call) -> Ending:
        plan = self._plan
        if plan.fault == "hang":
            await asyncio.Event().wait()
        await self._send("response.created", response=self._response("in_progress"))
        if plan.fault in REFUSALS:
            await self._send("response.done", response=self._response("failed", has_usage=False))
            return "refused"
        call.prompt_tokens += plan.prompt_tokens
        call.cached_tokens += plan.cached_tokens
        item = {"id": f"item_{plan.id}", "type": "message", "role": "assistant", "content": []}
        await self._send("response.output_item.added", response_id=f"resp_{plan.id}", output_index=0, item=item)
        try:
            ending = await self._say(call)
        except asyncio.CancelledError:
            ending = "error"
            await self._send("response.done", response=self._response("cancelled"))
            return ending
        if ending == "cut":
            return ending
        await self._send("response.output_item.done", response_id=f"resp_{plan.id}", output_index=0, item=item)
        status = "completed" if ending == "complete" else "failed"
        await self._send("response.done", response=self._response(status, has_usage=plan.fault != "no-usage"))
        return ending

    async def _say(self, call: Call) -> Ending:
        plan = self._plan
        stops_at = plan.length // 2 if plan.fault in ("cut", "error-event") else None
        place = {"response_id": f"resp_{plan.id}", "item_id": f"item_{plan.id}", "output_index": 0, "content_index": 0}
        async for index in made_tokens(plan, call):
            self.said += 1
            if self._is_audio:
                text = word(plan.seed, index)
                await self._send("response.output_audio_transcript.delta", **place, delta=text)
                await self._send("response.output_audio.delta", **place, delta=SILENCE)
            else:
                await self._send("response.output_text.delta", **place, delta=word(plan.seed, index))
            if index == stops_at:
                return "cut" if plan.fault == "cut" else "error"
        return "complete"

    def _response(self, status: str, *, has_usage: bool = True) -> dict[str, Any]:
        response: dict[str, Any] = {
            "object": "realtime.response",
            "id": f"resp_{self._plan.id}",
            "status": status,
            "output": [],
        }
        if status == "in_progress" or not has_usage:
            return response | {"usage": None}
        said, heard, read = self.said, self._audio_in, self._plan.prompt_tokens
        return response | {
            "usage": {
                "total_tokens": read + said,
                "input_tokens": read,
                "output_tokens": said,
                "input_token_details": {
                    "text_tokens": read - heard,
                    "audio_tokens": heard,
                    "image_tokens": 0,
                    "cached_tokens": self._plan.cached_tokens,
                },
                "output_token_details": {
                    "text_tokens": 0 if self._is_audio else said,
                    "audio_tokens": said if self._is_audio else 0,
                },
            }
        }
