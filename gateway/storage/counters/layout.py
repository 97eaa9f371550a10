"""Byte layout of counters, leases and limits in Redis; lua/counters.lua is the other side of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct, pack, unpack
from struct import error as StructError
from typing import Final, NamedTuple
from uuid import UUID

from gateway.domain.limits import KIND_OF_CODE, LIMIT_KINDS, CounterType
from gateway.domain.reservation_plan import Entry

_BUCKET: Final = Struct("<3d")
_OPEN: Final = Struct("<2d")
_WINDOW: Final = Struct("<4d")
_LEASE: Final = Struct("<8d")
_PART: Final = Struct("<2d")
_KEPT: Final = Struct("<4d")
LEASE_PREFIX: Final = "l|"
KEPT_PREFIX: Final = "d|"
# What reserve.lua answers: status, Redis's clock and whether a sweep is due; then three numbers of each limit.
REPLY_HEAD: Final = Struct("<3q")
TAKING: Final = Struct("<3q")


class PackedLimits(NamedTuple):
    """A plan's entries as reserve.lua reads them: its ARGV 7 and 8, and how many different fields there are."""

    counters: int
    fields: bytes
    numbers: bytes


class Bucket(NamedTuple):
    """`owed`: taken and not refilled at `at`, in 1/60000 units; it shrinks by `rate` of them a millisecond."""

    owed: int
    at: int
    rate: int


class Open(NamedTuple):
    """How many open leases there are with a scope."""

    taken: int
    epoch: int


class Window(NamedTuple):
    """What is used and what is reserved of the window that ends then."""

    ends: int
    used: int
    reserved: int
    epoch: int


_COUNTERS: Final[dict[CounterType, tuple[type[Bucket | Open | Window], Struct]]] = {
    "bucket": (Bucket, _BUCKET),
    "open": (Open, _OPEN),
    "window": (Window, _WINDOW),
}


class Part(NamedTuple):
    """What a lease took from one counter; `ends` is its window's end, or 0."""

    field: str
    ends: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A reservation as it is stored; times in ms. `is_open` is false once it was reaped."""

    request_id: UUID
    start_ms: int
    prompt_tokens: int
    completion_tokens: int
    nano_usd: int
    note: bytes
    expires_ms: int = 0
    claimed_ms: int = 0
    is_open: bool = True
    parts: tuple[Part, ...] = ()
    scopes: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call that has ended counts, named as in its row, for sums that were read without that row."""

    start_ms: int
    counted_requests: int
    counted_tokens: int
    counted_nano_usd: int
    scopes: str


def pack_numbers(*numbers: int) -> bytes:
    """As doubles, which hold whole numbers up to 2^53 exactly."""
    return pack(f"<{len(numbers)}d", *numbers)


def read_numbers(value: bytes) -> tuple[int, ...]:
    """Integers of 8 bytes, as the scripts answer them."""
    return unpack(f"<{len(value) // 8}q", value)


def pack_entries(entries: Iterable[Entry]) -> PackedLimits:
    """The entries as the script reads them; the same for every call until a window ends, so keep it."""
    places: dict[str, int] = {}
    numbers = [pack_numbers(places.setdefault(e.field, len(places) + 1), *e[1:]) for e in entries]
    return PackedLimits(len(places), b"".join(field.encode() + b"\0" for field in places), b"".join(numbers))


def read_counter(field: str, value: bytes) -> Bucket | Open | Window:
    """The counter in that field; raises struct.error for a value that is none."""
    kind = KIND_OF_CODE.get(field[0])
    if kind is None:
        raise StructError(f"no kind of limit has the code {field[0]!r}")
    counter, layout = _COUNTERS[LIMIT_KINDS[kind].counter]
    return counter(*map(int, layout.unpack(value)))


def read_kept(value: bytes) -> Kept:
    """The call in the field `d|request id`."""
    start, requests, tokens, nano_usd = map(int, _KEPT.unpack_from(value))
    return Kept(start, requests, tokens, nano_usd, value[_KEPT.size :].decode())


def read_lease(request_id: bytes, value: bytes) -> Lease:
    """The lease in the field `l|request id`."""
    expires, claimed, state, start, prompt, completion, cost, parts = map(int, _LEASE.unpack_from(value))
    names_at = _LEASE.size + parts * _PART.size
    *fields, scopes, note = value[names_at:].split(b"\0", parts + 1)
    taken = [_PART.unpack_from(value, _LEASE.size + n * _PART.size) for n in range(parts)]
    return Lease(
        request_id=UUID(request_id.decode()),
        expires_ms=expires,
        claimed_ms=claimed,
        is_open=state == 1,
        start_ms=start,
        prompt_tokens=prompt,
        completion_tokens=completion,
        nano_usd=cost,
        parts=tuple(Part(f.decode(), int(e), int(t)) for f, (e, t) in zip(fields, taken, strict=True)),
        scopes=scopes.decode(),
        note=note,
    )
