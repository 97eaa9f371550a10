"""The Helm chart, rendered: Helm runs in a process of its own, where its packages are installed."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from clients import venvs

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm"
EXAMPLES: Final = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}
SCHEMAS: Final = Path(__file__).with_name("schemas")
VENV: Final = "helm"
PROGRAM: Final = venvs.FOLDER / "helm_program.py"
# The oldest of Chart.yaml, and the newest whose schemas are installed.
VERSIONS: Final = ("1.28.0", "1.37.0")
POD_TEMPLATES: Final = ("Deployment", "StatefulSet", "Job")

Object = dict[str, Any]


class ChartRefused(Exception):
    """What Helm says of the values."""


class Helm:
    """Answers one request after another."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _ask(self, do: str, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ChartRefused(answer["error"])
        return answer

    def render(self, values: Mapping[str, Any], *, is_upgrade: bool = False) -> dict[str, str]:
        """The text of each template. Raises ChartRefused."""
        files: dict[str, str] = self._ask("render", values=values, is_upgrade=is_upgrade)["files"]
        return {Path(name).name: text for name, text in files.items()}

    def render_packaged(self, values: Mapping[str, Any], folder: Path) -> tuple[dict[str, str], list[str]]:
        """As `render`, of a package that is made in the folder; and what it has besides templates."""
        answer = self._ask("package", values=values, folder=str(folder))
        return {Path(name).name: text for name, text in answer["files"].items()}, answer["names"]

    def objects(self, values: Mapping[str, Any], *, is_upgrade: bool = False) -> list[Object]:
        """Those that Kubernetes gets. Raises ChartRefused."""
        return parsed(self.render(values, is_upgrade=is_upgrade))

    def lint(self, values: Mapping[str, Any]) -> list[str]:
        """Faults and warnings. Raises ChartRefused."""
        report = self._ask("lint", values=values, version=VERSIONS[0])
        # 1 is information: it recommends an icon.
        return report["errors"] + [one["error"] for one in report["messages"] if one["severity"] > 1]

    def validate(self, objects: list[Object], version: str) -> list[str]:
        """Faults by the strict schemas of a version of Kubernetes, and of the kinds of schemas/."""
        faults: list[str] = self._ask("validate", objects=objects, version=version)["faults"]
        return faults


def parsed(files: Mapping[str, str]) -> list[Object]:
    """The objects of rendered templates."""
    texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [one for text in texts for one in yaml.load_all(text, yaml.CSafeLoader) if one]


@contextmanager
def running_helm() -> Iterator[Helm]:
    venvs.install(VENV)
    command = [str(venvs.python_of(VENV)), str(PROGRAM), str(CHART), str(SCHEMAS)]
    # Helm writes a line there for each symbolic link of the chart.
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield Helm(process)


def values_of(example: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(EXAMPLES[example].read_text())
    return values


def pods(objects: list[Object]) -> dict[str, Object]:
    """The templates of pods, by kind and name."""
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["spec"]["template"]
        for one in objects
        if one["kind"] in POD_TEMPLATES
    }


def containers(template: Object) -> list[Object]:
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
