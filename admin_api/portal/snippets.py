"""A call of a model, to be copied: with curl, or with OpenAI's libraries for Python and JavaScript."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from admin_api.portal.visits import Visit

CLIENTS: Final[Mapping[str, str]] = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
KEY: Final = "LITEMAAS_API_KEY"
ADDRESS: Final = "LITEMAAS_BASE_URL"


@dataclass(frozen=True, slots=True)
class Call:
    """`path` is below the base address, `method` that of the libraries, None where they have none; `result` is what is
    printed of the answer. `upload` is a file that is sent, `saved_as` one that the answer becomes."""

    path: str
    body: Mapping[str, Any]
    method: str | None
    result: str = ""
    upload: str | None = None
    saved_as: str | None = None


CHAT: Final = Call(
    "chat/completions",
    {"messages": [{"role": "user", "content": "Hello"}]},
    "chat.completions.create",
    ".choices[0].message.content",
)
# By mode, as LiteLLM names it.
CALLS: Final[Mapping[str, Call]] = {
    "chat": CHAT,
    "completion": Call("completions", {"prompt": "Hello"}, "completions.create", ".choices[0].text"),
    "responses": Call("responses", {"input": "Hello"}, "responses.create", ".output_text"),
    "embedding": Call("embeddings", {"input": ["Hello"]}, "embeddings.create", ".data[0].embedding"),
    "image_generation": Call("images/generations", {"prompt": "A lighthouse at dawn"}, "images.generate", ".data[0]"),
    "audio_speech": Call(
        "audio/speech", {"input": "Hello", "voice": "alloy"}, "audio.speech.create", saved_as="speech.mp3"
    ),
    "audio_transcription": Call(
        "audio/transcriptions", {}, "audio.transcriptions.create", ".text", upload="speech.mp3"
    ),
    "moderation": Call("moderations", {"input": "Hello"}, "moderations.create", ".results[0].flagged"),
    "rerank": Call("rerank", {"query": "fruit", "documents": ["an apple", "a chair"]}, None),
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """Of a model and its mode; a mode without a call here is called as one that chats. Without `base_url` the operator
    has not said which address the gateway has: the person has to. `given` is sent instead of the call's own body."""

    base_url: str | None
    model: str
    mode: str | None
    given: Mapping[str, Any] | None = None
    call: Call = field(init=False)
    body: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        call = CALLS.get(self.mode or "", CHAT)
        object.__setattr__(self, "call", call)
        object.__setattr__(self, "body", {"model": self.model, **(self.given or call.body)})

    def of(self, client: str) -> str:
        """The code for one of CLIENTS. Raises KeyError for another."""
        return {"curl": self._curl, "python": self._python, "javascript": self._javascript}[client]()

    def _curl(self) -> str:
        lines = [f"curl {self.base_url or f'${ADDRESS}'}/{self.call.path}", f'-H "Authorization: Bearer ${KEY}"']
        if self.call.upload:
            lines += [f"-F file=@{self.call.upload}", f"-F {shlex.quote(f'model={self.model}')}"]
        else:
            body = json.dumps(self.body, ensure_ascii=False)
            lines += ['-H "Content-Type: application/json"', f"-d {shlex.quote(body)}"]
        if self.call.saved_as:
            lines.append(f"--output {self.call.saved_as}")
        return " \\\n  ".join(lines)

    def _python(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.body.items())
        if self.call.upload:
            given += f', file=open("{self.call.upload}", "rb")'
        asked = (
            f"client.{self.call.method}({given})"
            if self.call.method
            else f'client.post("/{self.call.path}", cast_to=object, body={dict(self.body)!r})'
        )
        done = (
            f'answer.write_to_file("{self.call.saved_as}")'
            if self.call.saved_as
            else f"print(answer{self.call.result})"
        )
        address = f'"{self.base_url}"' if self.base_url else f'os.environ["{ADDRESS}"]'
        client = f'client = OpenAI(base_url={address}, api_key=os.environ["{KEY}"])'
        return f"import os\n\nfrom openai import OpenAI\n\n{client}\nanswer = {asked}\n{done}"

    def _javascript(self) -> str:
        given = json.dumps(self.body, ensure_ascii=False)
        if self.call.upload:
            given = f'{given[:-1]}, "file": createReadStream("{self.call.upload}")}}'
        asked = (
            f"client.{self.call.method}({given})"
            if self.call.method
            else f'client.post("/{self.call.path}", {{ body: {given} }})'
        )
        done = f"console.log(answer{self.call.result});"
        imports = ['import OpenAI from "openai";']
        if self.call.upload:
            imports.append('import { createReadStream } from "node:fs";')
        if self.call.saved_as:
            imports.append('import { writeFile } from "node:fs/promises";')
            done = f'await writeFile("{self.call.saved_as}", Buffer.from(await answer.arrayBuffer()));'
        address = f'"{self.base_url}"' if self.base_url else f"process.env.{ADDRESS}"
        client = f"const client = new OpenAI({{ baseURL: {address}, apiKey: process.env.{KEY} }});"
        return "\n".join([*imports, "", client, f"const answer = await {asked};", done])

    def all(self) -> dict[str, str]:
        """The code for each of CLIENTS."""
        return {client: self.of(client) for client in CLIENTS}


def snippet_of(visit: Visit, model: str, mode: str | None, given: Mapping[str, Any] | None = None) -> Snippet:
    """With the gateway's own address."""
    gateway_url = visit.settings.gateway_url
    return Snippet(f"{gateway_url}/v1" if gateway_url else None, model, mode, given)
