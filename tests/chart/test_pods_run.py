"""The containers of a release as processes of this machine, with the words and the environment that they have in pods:
migrations, commands after an installation, gateway, admin API. What is of pods alone is not seen: images, volumes."""

import asyncio
from pathlib import Path
from signal import SIGTERM
from typing import Any, Final

import httpx2
from command_line import PROGRAM, CommandLine
from conftest import Database
from loopback_servers import LiteLLMInfoServer

from deploy.embedded.component import answers
from deploy.embedded.processes import Child, bare_environment, free_port
from gateway.web.metrics_server import PATH
from tests.chart.charts import Helm, Object, containers, pods
from tests.chart.test_fits_programs import SAMPLES, environment

PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
START_S: Final = 60.0


def with_secrets(container: Object, secrets: dict[str, str]) -> dict[str, str]:
    return {
        name: secrets[value["secretKeyRef"]["key"]] if isinstance(value, dict) else value
        for name, value in environment(container).items()
    }


def run_probed(container: Object, secrets: dict[str, str], folder: Path) -> dict[str, str]:
    """Starts it on a free port, asks what its probes ask, and for its metrics, and ends it as Kubernetes does."""
    port, words = str(free_port()), list(container["args"])
    words[words.index("--port") + 1] = port
    (metrics_port,) = [one["containerPort"] for one in container["ports"] if one["name"] == "metrics"]
    env = bare_environment(folder) | with_secrets(container, secrets)
    child = Child(words[0], [str(PROGRAM), *words], log=folder / f"{words[0]}.log", env=env, cwd=folder)
    paths = {probe: container[probe]["httpGet"]["path"] for probe in PROBES}
    try:
        child.wait_until(lambda: answers(f"http://127.0.0.1:{port}{paths['startupProbe']}"), START_S)
        child.wait_until(lambda: answers(f"http://127.0.0.1:{port}{paths['readinessProbe']}"), START_S)
        asked = {probe: httpx2.get(f"http://127.0.0.1:{port}{path}", trust_env=False) for probe, path in paths.items()}
        metrics = httpx2.get(f"http://127.0.0.1:{metrics_port}{PATH}", trust_env=False).text
    finally:
        child.stop()
    found = {probe: answer.json()["status"] for probe, answer in asked.items()}
    # Uvicorn sends itself the signal again when everything is closed; SIGKILL would be -9.
    return found | {"ended by itself": str(child.exit_code in (0, -SIGTERM)), "metrics": metrics}


async def test_the_containers_of_a_release_run(
    helm: Helm, database: Database, redis_url: str, litellm_info_server: LiteLLMInfoServer, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "image": {"repository": "registry.example.com/litemaas"},
        "existingSecret": "litemaas",
        "settings": {
            "LITEMAAS_LITELLM_URLS": litellm_info_server.url,
            "LITEMAAS_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
            "LITEMAAS_STATE_DIR": str(tmp_path / "state"),
        },
        "commands": {"afterInstall": [["settings", "set", "new_models", "open"], ["settings", "show"]]},
    }
    secrets = SAMPLES | {
        "LITEMAAS_DATABASE_URL": database.app_url,
        "LITEMAAS_OWNER_DATABASE_URL": database.owner_url,
        "LITEMAAS_REDIS_URL": redis_url,
        "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
    }
    templates = pods(helm.objects(values))

    for name in ("migrate", "commands"):
        for container in containers(templates[f"Job/litemaas-{name}"]):
            done = await CommandLine(with_secrets(container, secrets)).run(*container["args"])
            assert done.code == 0, done.err
    for name, metric in (("gateway", "litemaas_calls_in_flight"), ("admin", "litemaas_deliveries_waiting")):
        (container,) = containers(templates[f"Deployment/litemaas-{name}"])
        found = await asyncio.to_thread(run_probed, container, secrets, tmp_path)

        assert metric in found.pop("metrics")
        assert found == {
            "startupProbe": "alive",
            "livenessProbe": "alive",
            "readinessProbe": "ready",
            "ended by itself": "True",
        }
