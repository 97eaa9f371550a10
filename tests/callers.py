"""Callers of a gateway: an account with a key, and real HTTP requests."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final

import aiohttp
from factories import ADMIN, PEPPERS, make_subscription, make_user

from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from gateway.storage.postgres import Pool

CHAT: Final = "/v1/chat/completions"
_marks = count(1)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def code(self) -> str:
        return str(self.error["code"])

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def events(self) -> list[Any]:
        """The decoded data of a stream's events; `[DONE]` stays a string."""
        data = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part]
        return [part if part == "[DONE]" else json.loads(part) for part in data]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One account with one key."""

    url: str
    key: str
    key_id: int
    account_id: int
    user_id: int
    email: str
    http: aiohttp.ClientSession = field(repr=False)
    pool: Pool = field(repr=False)

    def at(self, url: str) -> "Caller":
        """The same caller at another gateway."""
        return replace(self, url=url)

    @property
    def authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def limit(self, kind: str, amount: int | None, **about: Any) -> None:
        """Sets a limit on the key, unless `level` and `target` say otherwise."""
        place = {"level": "key", "target": str(self.key_id), "model": None, "team": None}
        place |= {name: about.pop(name) for name in list(about) if name in place}
        await limits.set_limit(self.pool, ADMIN, LimitInput(kind=kind, amount=amount, confirmed=True, **about), **place)

    async def remove_subscription_limits(self) -> None:
        """Removes the default limits of a new subscription."""
        await self.pool.execute("DELETE FROM limits WHERE account_id = $1 AND level = 'subscription'", self.account_id)

    async def get(self, path: str) -> Response:
        async with self.http.get(self.url + path, headers=self.authorization) as answer:
            return Response(answer.status, answer.headers.copy(), await answer.read())

    async def chat(self, prompt: str = "Hello", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Response:
        """One call, read to its end."""
        async with self.open_chat(prompt, headers=headers, **fields) as answer:
            return Response(answer.status, answer.headers.copy(), await answer.read())

    @asynccontextmanager
    async def open_chat(
        self, prompt: str = "Hello", *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One call, with its headers read; leaving the block before the end disconnects."""
        sent = {**self.authorization, **(headers or {})}
        body = chat_body(prompt, **fields)
        async with self.http.post(self.url + CHAT, json=body, headers=sent) as answer:
            yield answer

    async def chats(self, number: int, prompt: str = "Hello", **fields: Any) -> list[Response]:
        """`number` concurrent calls."""
        return await asyncio.gather(*(self.chat(prompt, **fields) for _ in range(number)))


MakeCaller = Callable[..., Awaitable[Caller]]


def chat_body(prompt: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A field that is None is left out."""
    body = {"model": "demo-chat", "messages": [{"role": "user", "content": prompt}]} | fields
    return {name: value for name, value in body.items() if value is not None}


def new_mark() -> str:
    """A label to find a call in the model server's record: put `[mark=…]` into its prompt."""
    return f"m{next(_marks)}"


async def make_caller(
    pool: Pool, url: str, http: aiohttp.ClientSession, models: Sequence[str], **options: Any
) -> Caller:
    """A user with subscriptions to these models and a key for all of them."""
    user = await make_user(pool)
    for model in models:
        await make_subscription(pool, user, model)
    made = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=models, user=user.email, **options))
    return Caller(
        url=url,
        key=made.secret,
        key_id=made.row.id,
        account_id=made.row.account_id,
        user_id=user.id,
        email=user.email,
        http=http,
        pool=pool,
    )


def send_raw(
    port: int,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    timeout_s: float = 10.0,
) -> Response:
    """One request with path, headers and body exactly as given. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("latin-1"))
        if body is not None and not any(name.lower() == "content-length" for name, _ in headers):
            connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        try:
            if body is not None:
                connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the gateway has responded already
        answer = connection.getresponse()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()
