"""Prometheus on loopback: it scrapes programs, and evaluates the rules of `deploy/prometheus`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from deploy.embedded.component import Component, answers
from deploy.embedded.processes import Child, bare_environment, free_port
from deploy.embedded.venvs import ROOT
from tests.monitoring.prometheus_package import PROMETHEUS, install

CONFIG: Final = ROOT / "deploy" / "prometheus"
INTERVAL_S: Final = 0.5


class Prometheus(Component):
    """`targets` are addresses of metrics by job. Only the targets and the intervals are not those of compose."""

    TIMEOUT_S = 30.0

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        install()
        self._folder = folder
        config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        config["global"] = dict.fromkeys(config["global"], f"{INTERVAL_S * 1000:.0f}ms")
        config["rule_files"] = [str(CONFIG / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"

    def launch(self) -> None:
        self.child = Child(
            "Prometheus",
            [
                str(PROMETHEUS),
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            log=self._folder / "prometheus.log",
            env=bare_environment(self._folder),
            cwd=self._folder,
        )

    def is_ready(self) -> bool:
        return answers(f"{self.url}/-/ready")

    async def ask(self, http: aiohttp.ClientSession, path: str, **parameters: str) -> Any:
        """Of its API. Raises AssertionError with what Prometheus says of a query."""
        async with http.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            body = await answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    async def values(self, http: aiohttp.ClientSession, expr: str) -> dict[str, float]:
        """What a query has now, by its labels; without what is not a number."""
        found = (await self.ask(http, "query", query=expr))["result"]
        values = {str(one["metric"]): float(one["value"][1]) for one in found}
        return {labels: value for labels, value in values.items() if not math.isnan(value)}
