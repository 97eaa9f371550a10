"""The alert rules: their syntax, and that each metric and label they name exists. `make check-rules` has promtool try
which of them fire when; that no rule is missing there is checked here."""

import re
from typing import Any

import promql_parser
import pytest
import yaml

from admin_api import metrics as admin_metrics
from gateway import metrics
from tests.contract.tables import ROOT

FOLDER = ROOT / "deploy" / "prometheus"
GROUPS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule["alert"] for rule in RULES if "alert" in rule]
# By Prometheus itself, on each series it scrapes.
TARGET_LABELS = {"job", "instance"}


def labels_by_series() -> dict[str, set[str]]:
    """Every series of both programs, by its name; and those that the rules record."""
    found: dict[str, set[str]] = {"up": set()} | {rule["record"]: set() for rule in RULES if "record" in rule}
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

    assert read
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
    assert all(set(rule) <= {"alert", "expr", "for", "annotations"} for rule in RULES if "alert" in rule)
    assert all(rule["annotations"]["summary"].endswith(".") for rule in RULES if "alert" in rule)


def test_every_alert_is_tried_by_promtool() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    fired = {
        name
        for test in tests
        for tried in test["promql_expr_test"]
        for sample in tried["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }

    assert fired == set(ALERTS)
