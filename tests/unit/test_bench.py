"""The parts of `make bench` that compute: what wrk prints, medians, ratios, tables, charts, and what streams mean."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from loadtests import processes
from loadtests.bench import __main__ as program
from loadtests.bench import answers, charts, page, peers, requests, stages, tables, wrk
from loadtests.bench.client import Event, Took, WrongAnswer, events_of
from loadtests.bench.model_servers import FIXED_ANSWERS
from loadtests.bench.paced_server import END, STREAM, chunk
from loadtests.bench.plan import QUICK, WHOLE, JsonLoad, StreamLoad
from loadtests.bench.results import Key, Results, ratios, spread
from loadtests.bench.targets import DIRECT

SUMMARY = {
    "requests": 200,
    "duration_us": 2_000_000,
    "p50_us": 1500,
    "p99_us": 9000,
    "wrong": 0,
    "broken": 0,
    "late": 1,
}


def printed(**changes: int) -> str:
    return f"Running 2s test\n  1 threads\nsummary {json.dumps(SUMMARY | changes)}\n"


def test_what_wrk_prints_is_read() -> None:
    load = wrk.parse("nginx", printed())

    assert (load.calls_per_s, load.p50_ms, load.p99_ms, load.late) == (100.0, 1.5, 9.0, 1)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        (printed(wrong=3), "3 calls with another status"),
        (printed(broken=2), "2 broken connections"),
        (printed(requests=0), "answered no call in 2 s"),
        ("unable to connect", "unable to connect"),
    ],
)
def test_a_run_of_wrk_with_failed_calls_has_no_figures(text: str, about: str) -> None:
    with pytest.raises(WrongAnswer, match=f"nginx.*{about}"):
        wrk.parse("nginx", text)


def test_the_spread_is_a_share_of_the_median() -> None:
    assert spread([90.0, 100.0, 120.0]) == pytest.approx(0.3)
    assert spread([5.0]) == spread([0.0, 0.0]) == 0


def test_ratios_are_of_the_same_run() -> None:
    assert ratios([10.0, 40.0, 7.0], [5.0, 10.0]) == [2.0, 4.0]
    assert ratios([1.0], [0.0]) == []


@pytest.fixture
def results() -> Results:
    """Envoy and ours, three runs; LiteLLM is missing, Portkey failed."""
    found = Results()
    for run, factor in enumerate((1.0, 1.1, 2.0)):
        for name, us in (("nginx", 12.0), ("Envoy", 50.0), ("ours, 0 limits", 80.0), ("ours, 8 limits", 90.0 + run)):
            found.add(Key("json", name, "c = 64"), cpu_us=us * factor, calls_per_s=1e6 / us / factor)
            found.add(Key("streams", name, "200 streams"), cpu_us=us * factor, stall_ms=us)
            found.add(Key("latency", name, "c = 1"), added_p50_ms=us / 100, added_p99_ms=us / 10)
    found.about = {
        "date": "2026-01-01 00:00 UTC",
        "processor": "AMD",
        "cores": 2,
        "system": "Linux",
        "load_average_before": (0.1, 0.2, 0.3),
        "versions": {"Envoy": "1.40.0"},
        "plan": {"runs": 3, "seconds": 3.0},
    }
    found.missing = {"LiteLLM": "It could not be installed."}
    found.failed = ["Portkey answered 500", "Portkey answered 500"]
    return found


def test_results_are_the_same_from_their_file(results: Results) -> None:
    again = Results.from_json(results.to_json())

    assert again.to_json() == results.to_json()
    key = Key("json", "ours, 8 limits", "c = 64")
    assert again.median(key, "cpu_us") == pytest.approx(91 * 1.1)
    assert again.ratio(key, "Envoy", "cpu_us") == pytest.approx([1.8, 1.82, 1.84])
    assert again.targets("json") == ["nginx", "Envoy", "ours, 0 limits", "ours, 8 limits"]
    assert again.values(Key("json", "nobody", "c = 64"), "cpu_us") == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "–"),
        ([0.1234], "0.12"),
        ([46.14, 46.14], "46.1"),
        ([10_000.4], "10,000"),
        ([90.0, 100.0, 120.0], "100 (30 %)"),
    ],
)
def test_a_cell_is_the_median_and_the_spread(values: list[float], text: str) -> None:
    assert tables.cell(values) == text


def test_columns_and_rows_without_a_figure_are_left_out() -> None:
    table = tables.markdown(["", "a", "b"], [["x", "1", "–"], ["y", "–", "–"]])

    assert table == "|  | a |\n|---|---|\n| x | 1 |"


def test_the_bar_says_what_holds_and_what_is_missed(results: Results) -> None:
    table = tables.bar_table(results)

    assert "| CPU a JSON call ÷ Envoy's | ≤ 2 | 1.82 (2 %) | holds |" in table
    assert "| CPU an event ÷ nginx's | ≤ 2 | 7.58 (2 %) | **missed** |" in table
    assert "LiteLLM" not in table


def test_every_section_has_a_heading_and_rows(results: Results) -> None:
    sections = tables.sections(results)

    assert [title for title, _ in sections] == [
        "The bar",
        "Whole answers: calls a second",
        "Whole answers: CPU time of a call",
        "Added latency, one call at a time",
        "200 streams at once",
    ]
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for _, table in sections)


def test_the_page_names_versions_and_what_was_not_measured(results: Results) -> None:
    text = page.body(results, charts.charts(results))

    assert "Versions: Envoy 1.40.0." in text
    assert "Not measured: LiteLLM. It could not be installed." in text
    assert text.count("Failed: Portkey answered 500") == 1
    assert "3 runs, 3 s of each load" in text
    assert "![CPU time of a call by that of Envoy](performance/cpu-call.svg)" in text


def parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314  our own


def test_charts_are_xml_with_a_bar_for_each_value(results: Results) -> None:
    drawn = charts.charts(results)

    assert list(drawn) == ["cpu-call", "cpu-event", "latency"]
    bars = {name: len(parsed(text).findall(".//{*}rect")) for name, text in drawn.items()}
    assert bars == {"cpu-call": 4, "cpu-event": 4, "latency": 8}


def test_names_are_escaped_in_charts() -> None:
    name = '<a href="x">&\''

    drawn = charts.svg(charts.Chart(name, name, [(name, [1.0])]))

    texts = [element.text for element in parsed(drawn).iter() if element.text]
    assert texts.count(name) == 4


def test_bars_are_longer_for_more_and_stay_within_the_chart() -> None:
    values = [-1.0, 0.0, 0.5, 1.0, 9.0, 210.0]
    low, high = charts.scale(values)
    widths = [charts.width_of(value, low, high) for value in values]

    assert (low, high) == (0.1, 1000.0)
    assert widths == sorted(widths)
    assert all(1 <= wide <= charts.WIDTH - charts.LABELS - charts.NUMBERS for wide in widths)


@pytest.mark.parametrize("size", [1024, 16 * 1024, 1024 * 1024])
def test_a_body_has_exactly_the_size(size: int) -> None:
    body = requests.json_body(size)

    assert len(body) == size
    assert json.loads(body)["model"] == answers.MODEL


def test_a_body_that_is_written_again_asks_for_the_same_stream() -> None:
    body = requests.stream_body(400, 50)

    for again in (body, json.dumps(json.loads(body) | {"stream_options": {"include_usage": True}}, indent=2).encode()):
        pace = answers.PACE.search(again)
        assert pace is not None
        assert pace.groups() == (b"400", b"50")
    assert not answers.WANTS_USAGE.search(body)
    assert answers.WANTS_USAGE.search(again)


WRITTEN = [1_000_000_000, 1_020_000_000, 1_040_000_000]
ANSWERED = STREAM + chunk(answers.FIRST) + b"".join(chunk(answers.stamped_event(at)) for at in WRITTEN) + END


@pytest.mark.parametrize("first", range(1, len(ANSWERED), 37))
def test_events_are_found_wherever_the_reads_and_chunks_are_cut(first: int) -> None:
    """An event has the time of the read that ended its stamp; a proxy may cut chunks within it."""
    cut = ANSWERED.replace(chunk(answers.stamped_event(WRITTEN[1])), b"".join(
        chunk(part) for part in re.findall(b".{1,50}", answers.stamped_event(WRITTEN[1]), re.DOTALL)
    ))  # fmt: skip
    reads = [(5_000_000_000, cut[:first]), (6_000_000_000, cut[first:])]

    events = events_of("nginx", reads)

    assert [event.written for event in events] == WRITTEN
    assert [later.read >= earlier.read for earlier, later in pairwise(events)] == [True, True]
    at = [cut.index(b"%d" % written) + 11 for written in (WRITTEN[0], WRITTEN[2])]
    assert [events[0].read, events[2].read] == [5_000_000_000 if end <= first else 6_000_000_000 for end in at]


def test_a_stream_that_was_refused_is_no_stream() -> None:
    refused = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\nno"

    with pytest.raises(WrongAnswer, match="nginx answered 429: b'no'"):
        events_of("nginx", [(1, refused)])
    assert events_of("nginx", []) == []


def test_what_is_added_is_the_difference_of_each_pair() -> None:
    took = {DIRECT: [Took(0.001, 0.002), Took(0.003, 0.004)], "ours": [Took(0.002, 0.005), Took(0.003, 0.009)]}

    first, whole = stages.added(took, "ours")

    assert first == pytest.approx([1, 0])
    assert whole == pytest.approx([3, 5])
    assert stages.added(took, DIRECT)[1] == pytest.approx([2, 4])
    assert stages.late_ms([Event(1_000_000, 3_500_000)]) == [2.5]
    assert stages.quantile([5.0, 1.0, 4.0, 2.0], 0.99) == 5.0


def test_the_time_of_a_child_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used, resident, pids = (
            processes.cpu_s(process.pid),
            processes.memory_bytes(process.pid),
            processes.tree(process.pid),
        )
        process.communicate(b"\n")

    assert used >= 0.25
    assert resident > 5 * 2**20
    assert len(pids) == 2
    assert processes.cpu_s(process.pid) == 0


def test_the_name_of_a_program_may_hold_anything() -> None:
    stat = "7 (a) b (c) S " + " ".join(map(str, range(4, 30)))
    assert (processes._ticks(stat), processes._ticks_of_ended(stat)) == (14 + 15, 16 + 17)


def test_children_that_are_started_on_a_core_run_there_and_this_process_does_not() -> None:
    own = os.sched_getaffinity(0)
    core = {max(own)}
    program = "import os; print(os.sched_getaffinity(0))"

    with processes.started_on(core):
        child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert child.stdout.strip() == str(core)
    assert os.sched_getaffinity(0) == own


def test_loads_have_names() -> None:
    assert [load.name for load in WHOLE.json[:4]] == ["c = 1", "c = 16", "c = 16, 16 KiB", "c = 16, 1 MiB"]
    assert StreamLoad(1000, 20).name == "1,000 streams"
    assert JsonLoad(64).name == tables.MAIN_JSON_LOAD


def test_options_choose_what_is_measured() -> None:
    def plan(*arguments: str) -> object:
        return program.plan_of(program.options().parse_args(arguments))

    assert plan("--quick") == QUICK
    assert plan() == WHOLE
    chosen = program.plan_of(
        program.options().parse_args(["--runs", "5", "--peers", "none", "--limits", "8, 0", "--stages", "half"])
    )
    assert (chosen.runs, chosen.peers, chosen.limits, chosen.stages) == (5, (), (8, 0), ("half",))
    with pytest.raises(ValueError, match="kong"):
        plan("--peers", "kong")


def test_everything_listens_on_loopback_only() -> None:
    settings = peers.envoy_settings(1, ("127.0.0.1", 2))
    addresses = re.findall(r'"address": "([^"]+)"', json.dumps(settings))

    assert addresses == ["127.0.0.1", "127.0.0.1"]
    assert re.findall(r"listen (\S+):", FIXED_ANSWERS + peers.NGINX_BLOCKS) == ["127.0.0.1", "127.0.0.1"]
