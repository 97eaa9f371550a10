"""The gateway, as the portal calls it for a person."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from gateway.domain.errors import GatewayError

CHAT: Final = "/v1/chat/completions"
CONNECT_S: Final = 5.0
# The gateway itself waits for models, and answers before this.
READ_S: Final = 600.0
CALL_S: Final = 900.0
MAX_CONNECTIONS: Final = 500


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat completion with this key; `address` is that of the person, for the key's allowed addresses where the
    gateway trusts this program as a proxy."""

    key: str
    body: Mapping[str, Any]
    address: str | None = None

    def __repr__(self) -> str:
        return f"ChatCall(body={self.body!r})"

    def headers(self) -> dict[str, str]:
        """With the key."""
        forwarded = {"x-forwarded-for": self.address} if self.address else {}
        return {"authorization": f"Bearer {self.key}", "accept-encoding": "identity", **forwarded}


class GatewayLink:
    """Connections to the gateway, which are kept; None: no address is set."""

    def __init__(self, url: str | None, verify: ssl.SSLContext) -> None:
        self.is_set = url is not None
        self._client = httpx2.AsyncClient(
            base_url=url or "",
            verify=verify,
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S, pool=CONNECT_S),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20),
            trust_env=False,
            follow_redirects=False,
        )

    @asynccontextmanager
    async def open(self, call: ChatCall) -> AsyncIterator[httpx2.Response]:
        """The answer, of which the head was read; also a refusal. To leave the block, or to be cancelled in it, closes
        the connection unless all was read, by which the gateway ends the call.

        Raises GatewayError `upstream_unavailable`, `upstream_timeout`.
        """
        if not self.is_set:
            message = (
                "The playground is not set up: an admin sets LITEMAAS_GATEWAY_URL or LITEMAAS_GATEWAY_INTERNAL_URL."
            )
            raise GatewayError("upstream_unavailable", message)
        request = self._client.build_request("POST", CHAT, json=call.body, headers=call.headers())
        try:
            async with asyncio.timeout(CALL_S):
                answer = await self._client.send(request, stream=True)
                try:
                    yield answer
                finally:
                    await answer.aclose()
        except (TimeoutError, httpx2.TimeoutException):
            raise GatewayError("upstream_timeout", "The gateway took too long to answer. Try again.") from None
        except httpx2.HTTPError as exc:
            message = "The gateway does not answer at this moment. Try again."
            raise GatewayError("upstream_unavailable", message, headers={"retry-after": "2"}) from exc

    async def close(self) -> None:
        """All connections."""
        await self._client.aclose()
