"""The dashboards of Grafana against the code they are generated from, and the metrics there are."""

import json
import re
from itertools import combinations
from typing import Any

import promql_parser
import pytest

from admin_api import metrics as admin_metrics
from deploy.grafana.build import DASHBOARDS, FOLDER, text_of
from deploy.grafana.panels import COLUMNS, Dashboard
from gateway import metrics
from tests.contract.test_alert_rules import SERIES, TARGET_LABELS, selectors

# Prometheus's own client has it of the admin API's process.
LABELS = TARGET_LABELS | {"le"}
MODELS = {board.uid: board.model() for board in DASHBOARDS}
QUERIES = [
    pytest.param(query.expr, query.legend, id=f"{board.uid}: {panel.title} {number}")
    for board in DASHBOARDS
    for panel in board.panels
    for number, query in enumerate(panel.queries)
]


def panels_of(uid: str) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = MODELS[uid]["panels"]
    return panels


@pytest.mark.parametrize("board", DASHBOARDS, ids=[board.uid for board in DASHBOARDS])
def test_a_file_is_what_the_code_makes(board: Dashboard) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text() == text_of(board), "run make dashboards"


def test_there_is_no_other_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(MODELS)


@pytest.mark.parametrize(("expr", "legend"), QUERIES)
def test_a_query_can_be_parsed_and_reads_what_there_is(expr: str, legend: str) -> None:
    promql_parser.parse(expr.replace("$__rate_interval", "5m"))
    read = selectors(expr)
    known = LABELS.union(*(SERIES[name] for name, _ in read if name in SERIES))
    kept = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expr) for label in labels.split(",")}
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))

    assert read
    assert [name for name, _ in read if name not in SERIES] == []
    assert [
        labels - SERIES[name] - TARGET_LABELS for name, labels in read if labels - SERIES[name] - TARGET_LABELS
    ] == []
    assert kept <= known
    # An aggregation leaves only what it keeps.
    assert shown <= (kept or known)


def test_every_metric_is_shown_somewhere() -> None:
    read = {
        name for board in DASHBOARDS for panel in board.panels for q in panel.queries for name, _ in selectors(q.expr)
    }
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in read}
    own = {
        metric._name
        for module in (metrics, admin_metrics)
        for metric in vars(module).values()
        if hasattr(metric, "_documentation")
    }

    assert sorted(own - shown) == []


@pytest.mark.parametrize("uid", MODELS)
def test_panels_fit_and_do_not_overlap(uid: str) -> None:
    panels = panels_of(uid)
    cells = [
        {(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])}
        for p in (panel["gridPos"] for panel in panels)
    ]

    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert all(x < COLUMNS for cell in cells for x, _ in cell)
    assert all(one.isdisjoint(other) for one, other in combinations(cells, 2))


@pytest.mark.parametrize("uid", MODELS)
def test_a_panel_says_what_it_shows_and_names_the_chosen_source(uid: str) -> None:
    variables = [one["name"] for one in MODELS[uid]["templating"]["list"]]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(MODELS[uid]))) - {"__rate_interval", "__all"}

    assert used == set(variables)
    for panel in panels_of(uid):
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert {panel["datasource"]["uid"], *(t["datasource"]["uid"] for t in panel["targets"])} == {
                "${datasource}"
            }
            assert [target["refId"] for target in panel["targets"]] == list("ABCDEF")[: len(panel["targets"])]
            assert panel["fieldConfig"]["defaults"]["unit"]
