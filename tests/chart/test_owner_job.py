"""The Job for commands of the owner, as docs/kubernetes.md shows it: valid, restricted, within the chart's policies."""

import re

import pytest
import yaml

from tests.chart.charts import ROOT, VERSIONS, Helm, Object
from tests.chart.network import Peer, components, is_allowed


@pytest.fixture(scope="module")
def job() -> Object:
    page = (ROOT / "docs" / "kubernetes.md").read_text().partition("## Commands of the owner\n")[2]
    (text,) = re.findall(r"```yaml\n(.*?)```", page.partition("\n## ")[0], re.DOTALL)
    shown: Object = yaml.load(text, yaml.CSafeLoader)
    return shown


@pytest.mark.parametrize("version", VERSIONS)
def test_the_job_fits_the_strict_schema(helm: Helm, version: str, job: Object) -> None:
    assert helm.validate([job], version) == []


def test_the_job_is_what_the_chart_runs_for_migrations(rendered: dict[str, list[Object]], job: Object) -> None:
    objects = rendered["one-team"]
    migrate = next(one for one in objects if one["kind"] == "Job" and "migrate" in one["metadata"]["name"])
    shown, run = job["spec"]["template"]["spec"], migrate["spec"]["template"]["spec"]

    assert shown["securityContext"] == run["securityContext"]
    assert shown["containers"][0]["securityContext"] == run["containers"][0]["securityContext"]
    names = {env["name"] for env in run["containers"][0]["env"]}
    assert {env["name"] for env in shown["containers"][0]["env"]} <= names
    pod = Peer(job["spec"]["template"]["metadata"]["labels"])
    assert is_allowed(objects, pod, components(objects)["postgres"], 5432)
