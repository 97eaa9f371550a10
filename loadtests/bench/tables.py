"""The results as Markdown tables. A cell is the median of the runs, and in parentheses their spread."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.bench.plan import BODIES, HALF, MAIN_JSON, MAIN_STREAMS, MANY_STREAMS
from loadtests.bench.results import Key, Results, spread

NOTHING: Final = "–"
ONE: Final = "c = 1"
ENVOY: Final = "Envoy"
NGINX: Final = "nginx"
MAIN_JSON_LOAD: Final = MAIN_JSON.name
MAIN_STREAMS_LOAD: Final = MAIN_STREAMS.name
BODY_LOADS: Final = tuple(load.name for load in BODIES)
WHOLE_SPREAD: Final = 0.005


def number(value: float) -> str:
    """Three digits that count, thousands with a comma."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cell(values: Sequence[float]) -> str:
    """`46.1 (8 %)`."""
    if not values:
        return NOTHING
    around = spread(values)
    about = f" ({around:.0%})".replace("%", " %") if len(values) > 1 and around >= WHOLE_SPREAD else ""
    return number(statistics.median(values)) + about


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, without the columns and rows in which nothing was measured."""
    kept = [n for n in range(len(head)) if n == 0 or any(row[n] != NOTHING for row in rows)]
    lines = [[head[n] for n in kept], ["---"] * len(kept)]
    lines += [[row[n] for n in kept] for row in rows if any(row[n] != NOTHING for n in kept[1:])]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("|--- |", "|---|") for line in lines)


@dataclass(frozen=True, slots=True)
class Column:
    """A figure under a load; with `to`, by that of another target."""

    title: str
    load: str
    figure: str
    to: str | None = None

    def cell(self, results: Results, stage: str, target: str) -> str:
        key = Key(stage, target, self.load)
        return cell(results.ratio(key, self.to, self.figure) if self.to else results.values(key, self.figure))


def table(results: Results, stage: str, columns: Sequence[Column]) -> str:
    """A row a target."""
    rows = [[name, *(column.cell(results, stage, name) for column in columns)] for name in results.targets(stage)]
    return markdown(["", *(column.title for column in columns)], rows)


def _loads(results: Results, stage: str, *without: str) -> list[str]:
    return [load for load in results.loads(stage) if load not in without]


def throughput_table(results: Results) -> str:
    """Calls a second."""
    loads = _loads(results, "json", *BODY_LOADS[1:])
    return table(results, "json", [Column(f"calls/s, {load}", load, "calls_per_s") for load in loads])


def cpu_table(results: Results) -> str:
    """CPU time of a call."""
    loads = _loads(results, "json", *BODY_LOADS[1:])
    columns = [Column(f"µs, {load}", load, "cpu_us") for load in loads]
    columns += [Column(f"÷ Envoy, {load}", load, "cpu_us", ENVOY) for load in loads if load in (ONE, MAIN_JSON_LOAD)]
    return table(results, "json", columns)


def bodies_table(results: Results) -> str:
    """The same for larger bodies."""
    columns = [Column(f"calls/s, {load}", load, "calls_per_s") for load in BODY_LOADS]
    columns += [Column(f"µs, {load}", load, "cpu_us") for load in BODY_LOADS]
    return table(results, "json", columns) if BODY_LOADS[-1] in results.loads("json") else ""


def latency_table(results: Results) -> str:
    """What is added to one call at a time, and to the first byte of a stream."""
    whole = [Column(f"{p}, ms", ONE, f"added_{p}_ms") for p in ("p50", "p99")]
    rows = []
    for name in dict.fromkeys([*results.targets("latency"), *results.targets("first event")]):
        cells = [column.cell(results, "latency", name) for column in whole]
        cells += [column.cell(results, "first event", name) for column in whole]
        rows.append([name, *cells])
    titles = [column.title for column in whole]
    return markdown(["", *titles, *(f"first event, {title}" for title in titles)], rows)


def loaded_latency_table(results: Results) -> str:
    """What is added at half of capacity, and at full load."""
    loads = _loads(results, "json", ONE, *BODY_LOADS[1:])
    rows = []
    for name in results.targets("json"):
        half = Key("half", name, HALF)
        cells = [cell(results.values(half, figure)) for figure in ("rate", "added_p50_ms", "added_p99_ms")]
        cells += [cell(results.values(Key("json", name, load), "added_p99_ms")) for load in loads]
        rows.append([name, *cells])
    head = ["", "half of capacity, calls/s", "p50, ms", "p99, ms", *(f"p99 at full load, {load}, ms" for load in loads)]
    return markdown(head, rows)


def streams_table(results: Results, load: str) -> str:
    """Open streams at an even pace."""
    columns = [
        Column("events/s", load, "events_per_s"),
        Column("µs an event", load, "cpu_us"),
        Column("÷ nginx", load, "cpu_us", NGINX),
        Column("added p50, ms", load, "added_late_p50_ms"),
        Column("added p99, ms", load, "added_late_p99_ms"),
        Column("longest stall added, ms", load, "added_stall_ms"),
        Column("longest of all, ms", load, "stall_ms"),
    ]
    return table(results, "streams", columns)


def stores_table(results: Results) -> str:
    """Memory, what Redis sees of a call, and what a call waits for."""
    rows, loads = [], (ONE, MAIN_JSON_LOAD)
    for name in results.targets("json"):
        cells = [cell(results.values(Key("json", name, MAIN_JSON.name), "memory_mib"))]
        cells += [cell(results.values(Key("streams", name, MANY_STREAMS.name), "memory_mib"))]
        cells += [cell(results.values(Key("json", name, load), "redis_reads")) for load in loads]
        cells += [cell(results.values(Key("json", name, MAIN_JSON.name), "redis_commands"))]
        cells += [cell(results.values(Key("waits", name, store), "waits")) for store in ("redis", "postgres")]
        rows.append([name, *cells])
    head = ["", "MiB after calls", f"MiB, {MANY_STREAMS.name}"]
    head += [f"Redis reads a call, {load}" for load in loads] + ["Redis commands a call"]
    return markdown([*head, "waits for Redis", "waits for Postgres"], rows)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the bar: what must hold, and whether it does."""

    figure: str
    bar: str
    measured: Callable[[Results], Sequence[float]]
    holds: Callable[[float], bool]

    def row(self, results: Results) -> list[str]:
        values = self.measured(results)
        verdict = ("holds" if self.holds(statistics.median(values)) else "**missed**") if values else NOTHING
        return [self.figure, self.bar, cell(values), verdict]


def _difference(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=False)]


def bars(ours: str, unlimited: str) -> Sequence[Bar]:
    """The bar for the gateway with eight limits, by the names of two targets."""
    main, streams = Key("json", ours, MAIN_JSON.name), Key("streams", ours, MAIN_STREAMS.name)
    latency = Key("latency", ours, ONE)
    many = Key("streams", f"{ours}, 2 workers", MANY_STREAMS.name)

    def over_envoy(figure: str) -> Callable[[Results], Sequence[float]]:
        return lambda results: _difference(
            results.values(latency, figure), results.values(latency._replace(target=ENVOY), figure)
        )

    def steps(results: Results) -> Sequence[float]:
        turns = main._replace(stage="turns")
        return _difference(results.values(turns, "cpu_us"), results.values(turns._replace(target=unlimited), "cpu_us"))

    return (
        Bar("CPU a JSON call ÷ Envoy's", "≤ 2", lambda r: r.ratio(main, ENVOY, "cpu_us"), lambda v: v <= 2),
        Bar("CPU an event ÷ nginx's", "≤ 2", lambda r: r.ratio(streams, NGINX, "cpu_us"), lambda v: v <= 2),
        Bar("calls/s ÷ Portkey's", "≥ 5", lambda r: r.ratio(main, "Portkey", "calls_per_s"), lambda v: v >= 5),
        Bar("calls/s ÷ LiteLLM's", "≥ 50", lambda r: r.ratio(main, "LiteLLM", "calls_per_s"), lambda v: v >= 50),
        Bar("added p50 at c = 1 − Envoy's, ms", "≤ 0.3", over_envoy("added_p50_ms"), lambda v: v <= 0.3),
        Bar("added p99 at c = 1 − Envoy's, ms", "≤ 2", over_envoy("added_p99_ms"), lambda v: v <= 2),
        Bar(
            "added p99 at half of capacity, c = 64, ms",
            "≤ 10",
            lambda r: r.values(Key("half", ours, HALF), "added_p99_ms"),
            lambda v: v <= 10,
        ),
        Bar("waits for Redis", "1", lambda r: r.values(Key("waits", ours, "redis"), "waits"), lambda v: round(v) <= 1),
        Bar(
            "waits for Postgres",
            "0",
            lambda r: r.values(Key("waits", ours, "postgres"), "waits"),
            lambda v: round(v) <= 0,
        ),
        Bar("CPU of 8 limits − 0 limits, µs", "≤ 25", steps, lambda v: v <= 25),
        Bar(
            "1,000 streams × 20 events/s, 2 workers: longest stall added, ms",
            "≤ 100",
            lambda r: r.values(many, "added_stall_ms"),
            lambda v: v <= 100,
        ),
    )


def bar_table(results: Results, ours: str = "ours, 8 limits", unlimited: str = "ours, 0 limits") -> str:
    """The bar, and what was measured."""
    rows = [bar.row(results) for bar in bars(ours, unlimited)]
    return markdown(["figure", "bar", "measured", ""], [row for row in rows if row[2] != NOTHING])


def sections(results: Results) -> list[tuple[str, str]]:
    """All tables with their headings; those without a figure are left out."""
    found = [
        ("The bar", bar_table(results)),
        ("Whole answers: calls a second", throughput_table(results)),
        ("Whole answers: CPU time of a call", cpu_table(results)),
        ("Larger bodies", bodies_table(results)),
        ("Added latency, one call at a time", latency_table(results)),
        ("Added latency under load, c = 64", loaded_latency_table(results)),
    ]
    for load in results.loads("streams"):
        found.append((f"{load} at once", streams_table(results, load)))
    found.append(("Memory, Redis and Postgres", stores_table(results)))
    return [(title, text) for title, text in found if text.count("\n") > 1]
