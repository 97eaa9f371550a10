"""The chart by Helm and by the schemas of Kubernetes: lint, render, strict validation, refused values."""

import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.chart.charts import CHART, EXAMPLES, ROOT, VERSIONS, ChartRefused, Helm, Object, values_of
from tests.chart.golden import FOLDER, text_of

LEFT_OUT: Final = object()
# The place of a value, what it becomes, and what Helm must name.
REFUSED: Final[dict[str, tuple[tuple[str, ...], Any, tuple[str, ...]]]] = {
    "a typo": (("gateway", "replica"), 3, ("/gateway", "replica")),
    "a typo at the top": (("existingSecrets",), "a", ("existingSecrets",)),
    "an unknown setting": (("settings", "LITEMAAS_LOG_LEVELS"), "info", ("/settings", "LITEMAAS_LOG_LEVELS")),
    "a word that a setting does not know": (("settings", "LITEMAAS_LOG_LEVEL"), "loud", ("LITEMAAS_LOG_LEVEL",)),
    "a number out of bounds": (("settings", "LITEMAAS_SHUTDOWN_GRACE_S"), 0, ("LITEMAAS_SHUTDOWN_GRACE_S",)),
    "a secret among the settings": (("settings", "LITEMAAS_ADMIN_TOKEN"), "x", ("/settings", "LITEMAAS_ADMIN_TOKEN")),
    "a setting among the secrets": (("secretSettings", "LITEMAAS_LOG_LEVEL"), {"secret": "a"}, ("LITEMAAS_LOG_LEVEL",)),
    "a secret setting of no Secret": (("secretSettings", "LITEMAAS_SMTP_URL"), {"key": "a"}, ("secret",)),
    "a setting as a variable": (
        ("gateway", "extraEnv"), [{"name": "LITEMAAS_LOG_LEVEL", "value": "debug"}], ("/gateway/extraEnv/0/name",)),
    "no image": (("image", "repository"), LEFT_OUT, ("image.repository",)),
    "a digest that is none": (("image", "digest"), "sha256:abc", ("/image/digest",)),
    "no LiteLLM": (("litellm", "enabled"), False, ("LITEMAAS_LITELLM_URLS", "litellm.enabled")),
    "LiteLLM without models": (("litellm", "config"), {}, ("litellm.config",)),
    "an Ingress without a host": (("gateway", "ingress", "host"), "", ("gateway.ingress.host",)),
    "an HTTPRoute without a Gateway": (("admin", "httpRoute"), {"enabled": True}, ("admin.httpRoute.parentRefs",)),
    "a Prometheus that cannot reach the pods": (
        ("metrics", ), {"serviceMonitor": {"enabled": True}}, ("networkPolicy.metricsFrom",)),
    "another readiness path": (("gateway", "readinessPath"), "/readyz", ("/gateway/readinessPath",)),
}  # fmt: skip


def changed(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    values = deepcopy(values)
    place = values
    for step in path[:-1]:
        place = place.setdefault(step, {})
    if value is LEFT_OUT:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return values


@pytest.mark.parametrize("example", EXAMPLES)
def test_helm_finds_no_fault(helm: Helm, example: str) -> None:
    assert helm.lint(values_of(example)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_strict_schema_of_its_kind(
    helm: Helm, version: str, rendered: dict[str, list[Object]]
) -> None:
    found = {name: faults for name, objects in rendered.items() if (faults := helm.validate(objects, version))}

    assert found == {}
    kinds = {one["kind"] for objects in rendered.values() for one in objects}
    assert {"HorizontalPodAutoscaler", "Ingress", "Route", "HTTPRoute", "ServiceMonitor", "PrometheusRule"} <= kinds


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readinesProbe")),
        ("Ingress", ("spec", "rules", 0, "paths")),
        ("NetworkPolicy", ("spec", "egres")),
        ("ServiceMonitor", ("spec", "endpoints", 0, "intervall")),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "alerts")),
        ("HTTPRoute", ("spec", "rules", 0, "timeout")),
        ("Route", ("spec", "hosts")),
    ],
)
def test_a_field_that_a_kind_does_not_have_is_found(
    helm: Helm, kind: str, path: tuple[str | int, ...], rendered: dict[str, list[Object]]
) -> None:
    one = deepcopy(next(one for objects in rendered.values() for one in objects if one["kind"] == kind))
    place: Any = one
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = {}

    faults = helm.validate([one], VERSIONS[-1])

    assert any(f"'{path[-1]}' was unexpected" in fault for fault in faults), faults


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_cannot_work_are_refused_by_name(helm: Helm, case: str) -> None:
    path, value, names = REFUSED[case]

    with pytest.raises(ChartRefused) as refused:
        helm.render(changed(values_of("one-team"), path, value))

    assert [name for name in names if name not in str(refused.value)] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_missing_secret_is_named_with_a_key_of_it(helm: Helm, example: str) -> None:
    with pytest.raises(
        ChartRefused, match=r"existingSecret: name the Secret that has (LITEMAAS_|POSTGRES_|VALKEY_)\w+"
    ):
        helm.render(changed(values_of(example), ("existingSecret",), LEFT_OUT))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_renders_to_what_is_in_git(helm: Helm, example: str) -> None:
    assert (FOLDER / f"{example}.txt").read_text() == text_of(helm, example), (
        "run make chart, and look at the difference"
    )


def test_a_packaged_chart_is_whole(helm: Helm, tmp_path: Path) -> None:
    """Also what is a symbolic link in git."""
    values = values_of("ten-thousand-users")
    files, names = helm.render_packaged(values, tmp_path)

    assert files == helm.render(values)
    assert {"files/rules.yml", "files/alerts.yml", "files/dashboards/team.json"} <= set(names)
    assert [name for name in names if name.startswith("examples/")] == []


def test_the_chart_has_the_version_of_the_programs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_a_chart_that_has_this_one_may_pass_its_global_values(helm: Helm) -> None:
    values = values_of("one-team")

    assert helm.render(values | {"global": {"region": "eu"}}) == helm.render(values)


def test_names_are_unique(rendered: dict[str, list[Object]]) -> None:
    for objects in rendered.values():
        names = [(one["kind"], one["metadata"]["name"]) for one in objects]
        assert len(set(names)) == len(names)
