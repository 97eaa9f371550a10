"""How much a run measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class JsonLoad:
    """Whole answers: connections, and the bytes of a request's body."""

    connections: int
    body_bytes: int = KIB

    @property
    def name(self) -> str:
        size = self.body_bytes // KIB
        body = "" if size == 1 else f", {size // KIB} MiB" if size >= KIB else f", {size} KiB"
        return f"c = {self.connections}{body}"


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """Streams that are open at the same time, and the events of each in a second."""

    streams: int
    a_second: int

    @property
    def name(self) -> str:
        return f"{self.streams:,} streams"


STAGES: Final = ("latency", "json", "turns", "half", "first event", "streams", "waits")
MAIN_JSON: Final = JsonLoad(64)
MAIN_STREAMS: Final = StreamLoad(200, 50)
MANY_STREAMS: Final = StreamLoad(1000, 20)
BODIES: Final = (JsonLoad(16), JsonLoad(16, 16 * KIB), JsonLoad(16, KIB * KIB))
HALF: Final = "c = 64, half of capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`latency_calls` one after another, to each target in turn; `seconds` of each load, and one in each of `turns`.
    Without an access log only the main loads are measured."""

    runs: int
    seconds: float
    latency_calls: int
    turns: int
    json: Sequence[JsonLoad]
    streams: Sequence[StreamLoad]
    limits: Sequence[int]
    peers: Sequence[str]
    logless: bool
    stages: Sequence[str] = STAGES


QUICK: Final = Plan(
    runs=1,
    seconds=2.0,
    latency_calls=300,
    turns=4,
    json=(JsonLoad(1), JsonLoad(16), MAIN_JSON),
    streams=(MAIN_STREAMS,),
    limits=(0, 8),
    peers=("nginx", "Envoy"),
    logless=False,
)
WHOLE: Final = Plan(
    runs=3,
    seconds=3.0,
    latency_calls=1000,
    turns=8,
    json=(JsonLoad(1), *BODIES, MAIN_JSON, JsonLoad(256)),
    streams=(StreamLoad(50, 50), MAIN_STREAMS, MANY_STREAMS),
    limits=(0, 3, 8, 14),
    peers=("nginx", "Envoy", "Portkey", "LiteLLM"),
    logless=True,
)
