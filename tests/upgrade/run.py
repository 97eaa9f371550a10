"""The upgrade, step by step: forward, back before `post`, and forward again."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
from accounting import read_rows
from callers import Caller
from end_to_end.asking import CHAT, asked, opened
from gateways import wait_until
from held_up_rows import rows_held_up

from deploy.embedded.postgres import OWNER
from upgrade.calls import Calls
from upgrade.people import People
from upgrade.release import VERSION, names_that_are_gone
from upgrade.site import Site, kill
from upgrade.statements import statements_that_fail

# Rows that are in the journal of a killed gateway alone.
LEFT: Final = 5
SLOTS: Final = 3
STEP_REQUESTS: Final = 20
STEP_TOKENS: Final = 300
# How long the programs run as they are, after what a step waits for.
TOGETHER_S: Final = 1.5
WAIT_S: Final = 60.0
NAMES: Final = {"old": VERSION, "new": "this version"}


class Run:
    """One upgrade; `problems` is what an operator would call a fault."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.people = People(site)
        self.problems: list[str] = []
        self.steady: Calls
        self.slots: Calls
        self.requests: Calls
        self.tokens: Calls
        # Of calls that only the journal of a killed gateway knew.
        self.left: Caller
        self.left_ids: set[str] = set()
        self.killed = 0
        self.steps = 0
        self._began = time.monotonic()

    @property
    def calls(self) -> tuple[Calls, ...]:
        return (self.steady, self.slots, self.requests, self.tokens)

    def say(self, text: str) -> None:
        """What was done, and how many calls and requests there were so far."""
        made = sum(len(one.attempts) for one in self.calls)
        spent = time.monotonic() - self._began
        _write(f"{spent:5.1f} s  {text} ({made} calls, {self.people.requests} requests)")

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{what}: {found}, expected {wanted}")
            _write(f"         WRONG  {self.problems[-1]}")

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Everybody calls, until the end of the block."""
        people = self.people
        await people.sync_models()
        names = ("ann", "bob", "cyd", "dan", "eve")
        callers = [await people.make_caller(f"{name}@example.org") for name in names]
        steady, slots, requests, tokens, self.left = callers
        for kind in ("requests", "tokens"):
            await people.set_limit(steady.key_id, kind, amount=10**9, window="month")
        await people.set_limit(steady.key_id, "cost", amount_usd="100000.00", window="month", confirm=True)
        await people.set_limit(steady.key_id, "concurrency", amount=1000)
        await people.set_limit(slots.key_id, "concurrency", amount=SLOTS)
        await self._add_to_what_is_used_up(requests, tokens)
        self.steady = Calls(steady, "steady", clients=4)
        self.slots = Calls(slots, "slots", clients=4, kinds=(1, 3))
        self.requests = Calls(requests, "requests", clients=1, kinds=(0, 2))
        self.tokens = Calls(tokens, "tokens", clients=1, kinds=(0, 2), max_tokens=20)
        await people.begin("ann@example.org")
        try:
            yield
        finally:
            await asyncio.gather(*(one.cancel() for one in self.calls))
            await people.close()

    async def _add_to_what_is_used_up(self, requests: Caller, tokens: Caller) -> None:
        """By the admin API that is there now; the gateways that are there hear of it."""
        self.steps += 1
        await self.people.set_limit(requests.key_id, "requests", amount=self.steps * STEP_REQUESTS, window="month")
        about = {"amount": self.steps * STEP_TOKENS, "window": "month", "reserve": "maximum"}
        await self.people.set_limit(tokens.key_id, "tokens", **about)

    async def look(self, what: str) -> None:
        """A while with the programs as they are, and everything that is seen from outside."""
        people = self.people
        await people.log_in(f"person{len(people.browsers)}@example.org")
        await people.make_key("ann@example.org")
        if len(people.keys) > 2:
            await people.revoke_key()
        await people.read_lists()
        await self._add_to_what_is_used_up(self.requests.caller, self.tokens.caller)
        amount = self.steps * STEP_REQUESTS

        async def are_used_up() -> bool:
            refused = any(one.status == 429 for one in self.tokens.attempts[-2:])
            return refused and len(self.requests.answered) >= amount

        await wait_until(are_used_up, "limits to be used up", timeout_s=WAIT_S)
        await asyncio.sleep(TOGETHER_S)
        self.expect("calls of a limit of so many", len(self.requests.answered), amount)
        self.expect("keys", await people.wrong_keys(), [])
        for one in self.calls:
            self.expect(f"failed calls of {one.prefix}", one.take_failed(), {})
        self.expect("refused calls of steady", [one for one in self.steady.attempts if one.status == 429], [])
        self.expect("failed requests", people.take_failed(), {})
        self.say(what)

    async def replace_killed(self, number: int, version: str) -> None:
        """A gateway is killed with rows in its journal alone and a call under way; its successor adopts them."""
        program = await self.site.take_out(number)
        left = self.left.at(program.url)
        async with rows_held_up(self.site.postgres.url(OWNER)):
            for n in range(LEFT):
                answer = await asked(left, CHAT, f"Hello [tokens=2] [mark=left.{self.killed}.{n}]")
                self.left_ids.add(answer.request_id)
            async with opened(left, CHAT, "Hello [tokens=200] [rate=10]", stream=True) as stream:
                await stream.content.readany()
                self.left_ids.add(stream.headers["x-request-id"])
                await kill(program)
                self.killed += 1
                with suppress(aiohttp.ClientError):
                    await stream.read()
        await self.site.put_gateway(number, version)

        async def are_adopted() -> bool:
            return self.left_ids <= (await read_rows(self.site.pool, self.left.account_id)).keys()

        await wait_until(are_adopted, "the journal to be adopted", timeout_s=WAIT_S)
        rows = await read_rows(self.site.pool, self.left.account_id)
        reaped = sum(row["estimated_why"] == "reaped" for row in rows.values())
        self.expect("estimated rows, of calls under way", reaped, self.killed)
        self.say(f"gateway {number + 1} killed: {LEFT} rows and a call under way adopted by {NAMES[version]}")

    async def replace(self, number: int, version: str, *, says_so: bool) -> None:
        """By SIGTERM."""
        await self.site.end_gateway(number, says_so=says_so)
        await self.site.put_gateway(number, version)
        self.say(f"gateway {number + 1} ended; {NAMES[version]} in its place")

    async def migrate(self, phase: str) -> None:
        applied = await self.site.run("new", "migrate", "--phase", phase)
        self.say(f"migrate --phase {phase}: {len(applied['applied'])} applied")

    async def upgrade(self) -> None:
        """Every step."""
        self.expect("names that are gone without a word in the changelog", names_that_are_gone(), [])
        await self.look(f"{VERSION} alone")
        await self.migrate("pre")
        self.expect(f"statements of {VERSION} that fail", await statements_that_fail(self.site), {})
        await self.look(f"{VERSION} on the new tables")
        await self.replace_killed(0, "new")
        await self.look("one gateway of each, old admin API")
        await self.site.replace_admin("new")
        await self.look("one gateway of each, new admin API")
        await self.replace(1, "new", says_so=False)
        await self.people.use_the_portal("demo-chat")
        await self.people.write_what_is_new("demo-chat")
        await self.look("all new")
        await self.go_back()
        await self.look("all back")
        for number in range(2):
            await self.replace(number, "new", says_so=False)
        await self.site.replace_admin("new")
        await self.migrate("post")
        await self.people.use_the_portal("demo-chat")
        await self.look("all new, for good")

    async def go_back(self) -> None:
        """To the release, in another order."""
        await self.replace_killed(0, "old")
        await self.site.replace_admin("old")
        await self.look("one gateway and the admin API are back")
        await self.replace(1, "old", says_so=True)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
