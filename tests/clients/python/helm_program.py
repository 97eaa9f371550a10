"""Helm and the schemas of Kubernetes, for tests/chart: reads a request a line from standard input, each a JSON object
with `do`, and answers each with a line of JSON. The first argument is the folder of the chart, the second that of
schemas for kinds that Kubernetes does not have."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

CHART, OTHER_KINDS = sys.argv[1:]
SCHEMAS = Path(kubernetes_validate.__file__).with_name("kubernetes-json-schema")


@cache
def registry(version: str) -> Registry:
    """With what all schemas refer to; `kubernetes_validate.validate` reads it again for each object."""
    definitions = json.loads((SCHEMAS / f"v{version}-local-strict" / "_definitions.json").read_text())
    return Resource.from_contents(definitions) @ Registry()


@cache
def validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    """Raises OSError where there is no schema."""
    if (other := Path(OTHER_KINDS, f"{kind}.json")).exists():
        return jsonschema.Draft202012Validator(json.loads(other.read_text()))
    # networking.k8s.io/v1 is networking-v1, apps/v1 is apps-v1.
    group, _, number = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], number) if part)
    schema = json.loads((SCHEMAS / f"v{version}-local-strict" / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry(version))


def render(chart: helm.Chart, request: dict[str, Any]) -> dict[str, Any]:
    upgrade = request.get("is_upgrade", False)
    options = {"is_upgrade": upgrade, "is_install": not upgrade}
    return {"files": chart.render(request["values"], name="litemaas", namespace="models", **options)}


def package(_: helm.Chart, request: dict[str, Any]) -> dict[str, Any]:
    """Renders the packaged chart."""
    with helm.Chart.load(helm.package(CHART, destination=request["folder"])) as packaged:
        names = [one["name"] for one in packaged.files]
        return render(packaged, request) | {"names": names}


def lint(_: helm.Chart, request: dict[str, Any]) -> dict[str, Any]:
    return helm.lint(CHART, request["values"], strict=True, kube_version=f"v{request['version']}")


def validate(_: helm.Chart, request: dict[str, Any]) -> dict[str, Any]:
    """Every fault of an object, with its place."""
    found = []
    for one in request["objects"]:
        check = validator(one["kind"], one["apiVersion"], request["version"])
        place = f"{one['kind']}/{one['metadata']['name']}"
        found += [f"{place}: {fault.json_path}: {fault.message}" for fault in check.iter_errors(one)]
    return {"faults": found}


DOES = {"render": render, "package": package, "lint": lint, "validate": validate}


def main() -> None:
    with helm.Chart.load(CHART) as chart:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = DOES[request["do"]](chart, request)
            except (helm.HelmError, OSError) as exc:
                answer = {"error": str(exc)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


main()
