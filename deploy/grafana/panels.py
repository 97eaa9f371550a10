"""Dashboards of Grafana as its JSON model (schemaVersion 41): a panel is a title, what it shows and its queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

# A variable, so that the same file works with the data source of any Grafana; the compose file's is the first choice.
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
HEIGHT: Final = 8
STAT_HEIGHT: Final = 4
# Why a panel of faults has no data.
NEVER: Final = "Empty until there was one."

Unit = Literal["short", "reqps", "cps", "s", "bytes", "percentunit", "currencyUSD", "none"]


@dataclass(frozen=True, slots=True)
class Query:
    """`legend` in Grafana's form: `{{label}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`empty` says when it has no data although all is well; without it there is always some."""

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    about: str
    empty: str = ""
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    stacked: bool = False

    @property
    def height(self) -> int:
        return STAT_HEIGHT if self.kind == "stat" else HEIGHT


@dataclass(frozen=True, slots=True)
class Row:
    """A heading over panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice of values of a label, all of them at first."""

    name: str
    metric: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`uid` is its address in Grafana, and the name of its file."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)

    def model(self) -> dict[str, Any]:
        """What Grafana imports."""
        return {
            "uid": f"litemaas-{self.uid}",
            "title": f"LiteMaaS: {self.title}",
            "description": self.about,
            "tags": ["litemaas"],
            "schemaVersion": 41,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": []},
            "links": [
                {
                    "title": "LiteMaaS",
                    "type": "dashboards",
                    "tags": ["litemaas"],
                    "asDropdown": True,
                    "includeVars": False,
                    "keepTime": True,
                }
            ],
            "templating": {"list": [_source_variable(), *map(_label_variable, self.variables)]},
            "panels": _laid_out(self.rows),
        }


def quantiles(metric: str, by: str = "", where: str = "") -> tuple[Query, ...]:
    """The 50th, 95th and 99th percentile of a histogram; with `by` only the 95th, of each."""
    shares = (0.95,) if by else (0.5, 0.95, 0.99)
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval]))"
    legend = ", ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else ""
    return tuple(Query(f"histogram_quantile({share}, {rate})", legend or f"p{share * 100:.0f}") for share in shares)


def rate(metric: str, by: str = "", where: str = "", *, factor: str = "") -> Query:
    """How fast a counter rises, for each value of the labels `by`."""
    grouped = f"sum by ({by})" if by else "sum"
    legend = ", ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else "all"
    return Query(f"{grouped} (rate({metric}{where}[$__rate_interval])){factor}", legend)


def _source_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
        "hide": 0,
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
    }


def _label_variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "A"},
        "definition": query,
        "current": {"text": "All", "value": "$__all"},
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "hide": 0,
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }


def _laid_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """From left to right, and on the next line where the width ends."""
    shown: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        shown.append(_row(len(shown) + 1, row.title, top))
        top, left, height = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            shown.append(_panel(len(shown) + 1, panel, place))
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return shown


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    about = f"{panel.about} {panel.empty}".strip()
    targets = [
        {
            "refId": chr(ord("A") + n),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": panel.kind == "timeseries",
            "instant": panel.kind == "stat",
        }
        for n, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"unit": panel.unit}
    custom = {"drawStyle": "line", "fillOpacity": 20 if panel.stacked else 5, "lineWidth": 1, "showPoints": "never"}
    return {"unit": panel.unit, "min": 0, "custom": custom | {"stacking": {"mode": _stacking(panel), "group": "A"}}}


def _stacking(panel: Panel) -> str:
    return "normal" if panel.stacked else "none"


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
