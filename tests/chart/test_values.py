"""No value of the chart is without effect: each has a value of its own in everything.yaml, which is found again."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chart.charts import CHART, ROOT, VERSIONS, ChartRefused, Helm, Object, parsed, pods
from tests.chart.pod_security import violations
from tests.contract.chart_settings import variables

EVERYTHING: Final[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("everything.yaml").read_text())
DEFAULTS: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
CHART_VERSION: Final[str] = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
PAGE: Final = (ROOT / "docs" / "kubernetes.md").read_text()
# What other choices show, which are tried below.
ELSEWHERE: Final = {
    "gateway.replicas",
    "gateway.autoscaling.callsInFlight",
    # The release's own pods are chosen by their labels, and have their own ports.
    *(f"networkPolicy.{name}.ports.0" for name in ("postgres", "redis", "litellm")),
    *(f"networkPolicy.{name}.peers.0.podSelector.matchLabels.of/{name}" for name in ("postgres", "redis", "litellm")),
}


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Texts that are not empty, and numbers, with their places."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict | list):
            yield from leaves(value, place)
        elif not isinstance(value, bool) and value != "":
            yield place, value


def shape(values: Any, path: str = "") -> set[str]:
    """The places that values have, of those that the chart names."""
    if not isinstance(values, dict):
        return {path}
    free = path.endswith(
        ("nnotations", "abels", "nodeSelector", "affinity", "resources", "settings", "Settings", "config")
    )
    return {path} | (set() if free else {place for key in values for place in shape(values[key], f"{path}.{key}")})


@pytest.fixture(scope="module")
def texts(helm: Helm) -> str:
    return "\n".join(text for up in (False, True) for text in helm.render(EVERYTHING, is_upgrade=up).values())


@pytest.fixture(scope="module")
def everything(helm: Helm) -> list[Object]:
    """Checked, so that what differs from it remains to be checked."""
    objects = helm.objects(EVERYTHING)
    assert helm.validate(objects, VERSIONS[-1]) == []
    return objects


def test_everything_has_every_value_of_the_chart() -> None:
    assert shape(EVERYTHING) == shape(DEFAULTS)


def test_every_value_is_in_what_is_rendered(texts: str) -> None:
    def is_there(place: str, value: Any) -> bool:
        # A name that is made up, as `of-4000/label`, stands for its value.
        key = place.split(".")[-1]
        return (key if "/" in key else str(value)) in texts

    missing = {place for place, value in leaves(EVERYTHING) if not is_there(place, value)}

    assert missing == ELSEWHERE


CHANGES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "image.digest": ({"image": {"digest": "sha256:" + "1" * 64}}, "everything@sha256:1111"),
    "image without tag": ({"image": {"tag": ""}}, f"registry.example.com/everything:{CHART_VERSION}"),
    "litellm.image.tag": ({"litellm": {"image": {"digest": "", "tag": "tag-4"}}}, "everything-litellm:tag-4"),
    "caBundle.configMap": ({"caBundle": {"configMap": "ca-config"}}, "configMap: {name: ca-config}"),
    "autoscaling by calls": ({"gateway": {"autoscaling": {"metric": "calls-in-flight"}}}, 'averageValue: "73"'),
    "no autoscaling": ({"gateway": {"autoscaling": {"enabled": False}}}, "replicas: 1005"),
    "postgres elsewhere": ({"postgres": {"bundled": False}}, "{port: 5433, protocol: TCP}"),
    "redis elsewhere": ({"valkey": {"bundled": False}}, "{port: 6380, protocol: TCP}"),
    "litellm elsewhere": (
        {"litellm": {"enabled": False}, "settings": {"LITEMAAS_LITELLM_URLS": "http://x"}},
        "{port: 4001, protocol: TCP}",
    ),
    "another account": ({"serviceAccount": {"create": False, "name": "theirs"}}, "serviceAccountName: theirs"),
    "no account": ({"serviceAccount": {"create": False, "name": ""}}, "serviceAccountName: default"),
    "no claims": ({"gateway": {"journal": {"type": "emptyDir"}}}, "emptyDir: {sizeLimit: 1111Gi}"),
    "no metrics": (
        {"settings": {"LITEMAAS_METRICS_LISTEN": "off"}, "metrics": {"serviceMonitor": {"enabled": False}}},
        "{name: http, port: 4000, targetPort: http}"),
    "no budget": ({"gateway": {"disruptionBudget": {"enabled": False}}}, "maxUnavailable: 2007"),
    "no spread": ({"gateway": {"topologySpread": False}}, "topologySpreadConstraints"),
    "no migrations": ({"migrations": {"enabled": False}}, "name: litemaas-commands"),
    "OpenShift": ({"openshift": True}, "runAsNonRoot: true"),
    "no policies": ({"networkPolicy": {"enabled": False}}, "kind: PodDisruptionBudget"),
}  # fmt: skip


def merged(values: Any, change: Any) -> Any:
    if not isinstance(change, dict) or not isinstance(values, dict):
        return change
    return {**values, **{key: merged(values.get(key), value) for key, value in change.items()}}


@pytest.mark.parametrize("case", CHANGES)
def test_other_choices_fit_the_schemas_and_are_restricted(helm: Helm, everything: list[Object], case: str) -> None:
    change, wanted = CHANGES[case]
    values = merged(EVERYTHING, change)
    files = helm.render(values)
    objects = parsed(files)

    assert objects != everything
    assert helm.validate([one for one in objects if one not in everything], VERSIONS[-1]) == []
    assert {name: found for name, pod in pods(objects).items() if (found := violations(pod))} == {}
    assert wanted in "\n".join(files.values())


def test_the_page_names_values_that_exist() -> None:
    _, _, rest = PAGE.partition("## Values that matter")
    rows = re.findall(r"^\| (`.*?) \|", rest.partition("\n## ")[0], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([a-z][\w.]*)`", row)]

    assert len(names) > 15
    assert [name for name in names if f".{name}" not in shape(DEFAULTS) and name not in ("admin",)] == []


def test_the_page_says_which_program_gets_which_secret() -> None:
    shown = {"gateway": "gateway", "admin": "admin", "migrate": "migrations", "litellm": "LiteLLM"}
    rows = re.findall(r"^\| (`LITEMAAS_.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    said = {name: re.sub(" only$", "", readers) for names, readers in rows for name in re.findall(r"`(\w+)`", names)}

    assert said == {
        name: ", ".join(shown[program] for program in about["programs"])
        for name, about in variables().items()
        if about["secret"] and about["required"]
    }


def test_metrics_that_are_off_are_neither_scraped_nor_scaled_by(helm: Helm) -> None:
    off = merged(EVERYTHING, {"settings": {"LITEMAAS_METRICS_LISTEN": "off"}})
    scaled = {"metrics": {"serviceMonitor": {"enabled": False}}, **CHANGES["autoscaling by calls"][0]}
    with pytest.raises(ChartRefused, match=r"metrics\.serviceMonitor\.enabled: .*METRICS_LISTEN"):
        helm.render(off)
    with pytest.raises(ChartRefused, match=r"gateway\.autoscaling\.metric: .*METRICS_LISTEN"):
        helm.render(merged(off, scaled))
