"""The rules of Prometheus: their syntax, that each metric and label they name exists, and that each alert has
a severity, a section of docs/runbooks.md and tests of promtool (tests/monitoring runs them)."""

import re
from typing import Any

import promql_parser
import pytest
import yaml

from admin_api import metrics as admin_metrics
from gateway import metrics
from tests.contract.tables import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
FILES = ("rules.yml", "alerts.yml")
GROUPS: list[dict[str, Any]] = [
    group for name in FILES for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
# By Prometheus itself, on each series it scrapes.
TARGET_LABELS = {"job", "instance"}


def recorded_labels() -> dict[str, set[str]]:
    """Of the series that rules record: their own, and those of recorded series they are made of."""
    found: dict[str, set[str]] = {}
    for rule in RULES:
        if "record" in rule:
            made_of = re.findall(r"litemaas:[a-z0-9_:]+", rule["expr"])
            inherited = set().union(*(found[name] for name in made_of))
            found.setdefault(rule["record"], set()).update(inherited, rule.get("labels", {}))
    return found


def labels_by_series() -> dict[str, set[str]]:
    """Every series of both programs, by its name; and those that the rules record."""
    found: dict[str, set[str]] = {"up": set()} | recorded_labels()
    for module in (metrics, admin_metrics):
        for metric in vars(module).values():
            if not hasattr(metric, "_documentation"):
                continue
            labels = set(metric._labelnames)
            if metric._type == "histogram":
                found |= {f"{metric._name}_bucket": labels | {"le"}, f"{metric._name}_sum": labels}
                found |= {f"{metric._name}_count": labels}
            else:
                found[metric._name + ("_total" if metric._type == "counter" else "")] = labels
    return found


SERIES = labels_by_series()
SELECTOR = re.compile(r"([a-z_][a-z_0-9:]*)\{([^}]*)\}|\b((?:litemaas|process)_[a-z_0-9]+|litemaas:[a-z_0-9:]+|up)\b")


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """The series an expression reads, with the labels it compares."""
    return [
        (match[1] or match[3], set(re.findall(r"(\w+)\s*[=!]~?", match[2] or "")))
        for match in SELECTOR.finditer(expression)
    ]


@pytest.mark.parametrize("rule", RULES, ids=[rule.get("alert") or rule["record"] for rule in RULES])
def test_a_rule_can_be_parsed_and_reads_series_that_exist(rule: dict[str, Any]) -> None:
    promql_parser.parse(rule["expr"])
    read = selectors(rule["expr"])
    shown = set(re.findall(r"\$labels\.(\w+)", rule.get("annotations", {}).get("summary", "")))

    assert read or rule["expr"].startswith("vector(")
    assert [name for name, _ in read if name not in SERIES] == []
    assert [
        (name, labels - SERIES[name] - TARGET_LABELS) for name, labels in read if labels - SERIES[name] - TARGET_LABELS
    ] == []
    assert shown <= TARGET_LABELS.union(*(SERIES[name] for name, _ in read))
    # Labels that an aggregation keeps, too.
    for kept in re.findall(r"\bby \(([^)]*)\)", rule["expr"]):
        assert {label.strip() for label in kept.split(",")} <= TARGET_LABELS.union(*(SERIES[name] for name, _ in read))


def test_codes_that_rules_name_exist() -> None:
    named = {
        code for rule in RULES for codes in re.findall(r'code=~"([^"]*)"', rule["expr"]) for code in codes.split("|")
    }

    assert named
    assert named <= metrics.OWN_CODES


def test_every_alert_says_what_is_wrong_once() -> None:
    assert len(set(ALERTS)) == len(ALERTS)
    for rule in RULES:
        if "alert" in rule:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["annotations"]["summary"].endswith(".")
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_recorded_series_and_alerts_have_files_of_their_own() -> None:
    for name, kind in zip(FILES, ("record", "alert"), strict=True):
        groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
        assert all(kind in rule for group in groups for rule in group["rules"])
    assert yaml.safe_load((FOLDER / "prometheus.yml").read_text())["rule_files"] == list(FILES)


def test_every_alert_has_a_section_in_the_runbooks() -> None:
    """In the same order, with what it means, where to look and what to do."""
    sections = re.split(r"^### ", (ROOT / "docs" / "runbooks.md").read_text(), flags=re.MULTILINE)[1:]
    parts = ("**Means.** ", "**Look.** ", "**Do.** ")
    runbooks = {rule["alert"]: rule["annotations"]["runbook"] for rule in RULES if "alert" in rule}

    assert [section.split("\n")[0] for section in sections] == ALERTS
    assert [section[:20] for section in sections if not all(f"\n{part}" in section for part in parts)] == []
    assert runbooks == {name: f"docs/runbooks.md#{name.lower()}" for name in ALERTS}


def test_every_alert_is_tried_by_promtool() -> None:
    """Each fires in one test of its own name, and in the same test not yet."""
    firing: dict[str, set[bool]] = {}
    for path in sorted(FOLDER.glob("alerts*_test.yml")):
        tried = yaml.safe_load(path.read_text())
        assert tried["group_eval_order"] == [group["name"] for group in GROUPS]
        for test in tried["tests"]:
            name = test["name"].split(",")[0]
            for one in test["promql_expr_test"]:
                assert one["expr"] == f'ALERTS{{alertname="{name}", alertstate="firing"}}'
                firing.setdefault(name, set()).add(bool(one["exp_samples"]))

    assert firing == {name: {True, False} for name in ALERTS}


def test_every_window_of_the_budgets_is_recorded() -> None:
    windows = re.findall(r"litemaas:slo_failed:ratio_rate(\w+)", (FOLDER / "alerts.yml").read_text())

    assert {f"litemaas:slo_failed:ratio_rate{window}" for window in windows} == {
        name for name in SERIES if name.startswith("litemaas:slo_failed:ratio_rate")
    }
