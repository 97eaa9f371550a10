"""Key records of one worker, kept until something about them changes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from gateway.domain.grants import KeyRecord
from gateway.storage.changes import Listening
from gateway.storage.failures import POSTGRES_FAILED

# In case a notification is ever lost.
TTL_S: Final = 30.0
# While notifications do not arrive, records are read again: a change must hold within a second all the same.
DEAF_TTL_S: Final = 0.8
UNKNOWN_TTL_S: Final = 2.0
MAX_RECORDS: Final = 100_000
MAX_UNKNOWN: Final = 10_000
# Postgres recovers from a crash, or is replaced by its standby, in about this time: a key of which nothing is known
# waits for it, and is refused only then. So many keys at once at most.
PATIENCE_S: Final = 3.0
RETRY_S: Final = 0.2
MAX_PATIENT: Final = 1_000
NEVER: Final = float("-inf")
# A model that was disabled is in no record of those who may use it again.
MAY_CONCERN_ALL: Final = ("*", "m")


class KeysUnavailable(Exception):
    """Postgres does not answer, and nothing is known of this key that may still be used."""


@dataclass(slots=True)
class _Entry:
    record: KeyRecord
    loaded_at: float


class KeyCache:
    """digest -> record, read by `load` once however many ask, and stored only if nothing that concerns it changed since
    the read began.

    `listening()` says whether changes arrive, `last_contact()` when Postgres last answered (monotonic seconds). While
    Postgres is away, known records are used for `grace_s` from the last contact.
    """

    def __init__(
        self,
        load: Callable[[bytes], Awaitable[KeyRecord | None]],
        *,
        listening: Callable[[], Listening],
        last_contact: Callable[[], float],
        grace_s: float,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self._load = load
        self._listening = listening
        self._last_contact = last_contact
        self._grace_s = grace_s
        self._patience_s = patience_s
        self._patient = 0
        self._entries: dict[bytes, _Entry] = {}
        self._unknown: dict[bytes, float] = {}
        self._loading: dict[bytes, asyncio.Task[KeyRecord | None]] = {}
        # What changed while a record was being read.
        self._missed: dict[bytes, list[tuple[str, tuple[int, ...]]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, digest: bytes) -> KeyRecord | None:
        """The record if it can be used without asking anyone: the path of nearly every call."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        listening = self._listening()
        if listening is Listening.AWAY:
            return entry.record if self._clock() - self._last_contact() < self._grace_s else None
        ttl_s = TTL_S if listening is Listening.GOOD else DEAF_TTL_S
        return entry.record if self._clock() - entry.loaded_at < ttl_s else None

    async def find(self, digest: bytes) -> KeyRecord | None:
        """The record, from Postgres if need be; None: no such key. Raises KeysUnavailable."""
        record = self.peek(digest)
        if record is not None:
            return record
        if self._unknown.get(digest, 0.0) > self._clock():
            return None
        loading = self._loading.get(digest)
        if loading is None:
            loading = asyncio.get_running_loop().create_task(self._read(digest), name="read-key")
            self._loading[digest] = loading
            loading.add_done_callback(lambda _: self._loading.pop(digest, None))
        try:
            # Shielded: one caller that disconnects must not fail the others who wait for the same key.
            return await asyncio.shield(loading)
        except POSTGRES_FAILED as exc:
            known = self._known_in_grace(digest)
            if known is not None:
                return known
            raise KeysUnavailable from exc

    def _known_in_grace(self, digest: bytes) -> KeyRecord | None:
        entry = self._entries.get(digest)
        return entry.record if entry is not None and self._clock() - self._last_contact() < self._grace_s else None

    async def _read(self, digest: bytes) -> KeyRecord | None:
        missed = self._missed[digest] = []
        try:
            record = await self._load_patiently(digest)
        finally:
            del self._missed[digest]
        if record is None:
            self._entries.pop(digest, None)
            if len(self._unknown) >= MAX_UNKNOWN:
                self._unknown.clear()
            if not missed:
                self._unknown[digest] = self._clock() + UNKNOWN_TTL_S
        elif not any(code in MAY_CONCERN_ALL or _concerns(record, code, ids) for code, ids in missed):
            if len(self._entries) >= MAX_RECORDS:
                # The oldest first: a dict keeps the order of insertion.
                self._entries.pop(next(iter(self._entries)))
            self._entries[digest] = _Entry(record, self._clock())
        return record

    async def _load_patiently(self, digest: bytes) -> KeyRecord | None:
        """As `load`, but a Postgres that is away is given a while to come back, if nothing is known of the key."""
        try:
            return await self._load(digest)
        except POSTGRES_FAILED:
            if self._patient >= MAX_PATIENT or self._known_in_grace(digest) is not None:
                raise
        self._patient += 1
        gives_up_at = self._clock() + self._patience_s
        try:
            while True:
                await asyncio.sleep(min(RETRY_S, self._patience_s))
                try:
                    return await self._load(digest)
                except POSTGRES_FAILED:
                    if self._clock() >= gives_up_at:
                        raise
        finally:
            self._patient -= 1

    def invalidate(self, code: str, ids: tuple[int, ...]) -> None:
        """Drops what a change concerns: 'a' accounts, 'u' users, 'k' keys, 'm' models. '*', some changes may have been
        missed: nothing is used without asking Postgres, unless Postgres does not answer."""
        for missed in self._missed.values():
            missed.append((code, ids))
        self._unknown.clear()
        gone = [digest for digest, entry in self._entries.items() if _concerns(entry.record, code, ids)]
        for digest in gone:
            del self._entries[digest]
        if code in MAY_CONCERN_ALL:
            # Read again before they are used; while Postgres is away, which is the usual cause, they are still used.
            for entry in self._entries.values():
                entry.loaded_at = NEVER


def _concerns(record: KeyRecord, code: str, ids: tuple[int, ...]) -> bool:
    if code == "a":
        return record.account_id in ids
    if code == "u":
        return record.user_id in ids
    if code == "k":
        return record.key_id in ids
    models: set[int] = {grant.model_id for grant in record.grants.values()}
    models.update(one.model_id for one in record.withheld.values())
    return code == "m" and not models.isdisjoint(ids)
