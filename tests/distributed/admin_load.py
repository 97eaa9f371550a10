"""Someone who reads and changes by the admin API all the time, at each replica in turn."""

import asyncio
from itertools import count, cycle
from time import monotonic
from typing import Any, Final

import aiohttp
from admin_client import LOGIN
from callers import Caller
from chaos.load import Attempt

from distributed.site import Site

PAUSE_S: Final = 0.25
TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


class AdminLoad:
    """A list and a change of a key's name, until stopped. `saved` is the last name that was confirmed."""

    def __init__(self, site: Site, caller: Caller) -> None:
        self._site = site
        self.key_id = caller.key_id
        self._is_on = True
        self.saved = ""
        self.attempts: list[Attempt] = []
        self._task = asyncio.create_task(self._call_on())

    async def _call_on(self) -> None:
        replicas = cycle(self._site.admins)
        for number in count(1):
            if not self._is_on:
                return
            url = next(replicas).url
            await self._call("GET", f"{url}/api/v1/api-keys")
            name = f"name {number}"
            if await self._call("PATCH", f"{url}/api/v1/api-keys/{self.key_id}", {"name": name}) == 200:
                self.saved = name
            await asyncio.sleep(PAUSE_S)

    async def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> int:
        attempt = Attempt(f"{method}.{len(self.attempts)}")
        self.attempts.append(attempt)
        try:
            async with self._site.http.request(method, url, json=body, headers=LOGIN, timeout=TIMEOUT) as answer:
                attempt.status = answer.status
                said = await answer.json()
                if answer.status != 200:
                    attempt.code = str(said["error"]["code"])
                attempt.outcome = "whole"
        except (aiohttp.ClientError, TimeoutError):
            attempt.outcome = "cut"
        attempt.ended_s = monotonic()
        return attempt.status

    async def stop(self) -> None:
        self._is_on = False
        await self._task

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def number_of(name: str | None) -> int:
    """Of a name as given here; 0 for none."""
    return int(name.split()[1]) if name and name.startswith("name ") else 0
