"""The rules of `deploy/prometheus` by promtool: they are valid, and each alert fires when it has to and not before."""

import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.embedded.venvs import ROOT
from tests.monitoring.prometheus_package import PROMTOOL, NotInstalled, install

FOLDER = ROOT / "deploy" / "prometheus"
# Each file tries other alerts: tests/contract/test_alert_rules.py says that none is missing.
TESTS = sorted(path.name for path in FOLDER.glob("*_test.yml"))


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    install()


def promtool(*arguments: str, cwd: Path = FOLDER) -> str:
    """What it prints. Fails if it finds a fault."""
    done = subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configuration_are_valid() -> None:
    # The configuration names the files of rules, which are checked with it.
    checked = promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")

    assert "2 rule files found" in checked


@pytest.mark.parametrize("name", TESTS)
def test_alerts_fire_when_they_have_to(name: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", name)


def test_a_broken_rule_is_found(tmp_path: Path) -> None:
    """promtool is what fails, not something around it."""
    for name in ("rules.yml", "alerts.yml"):
        (tmp_path / name).write_text((FOLDER / name).read_text().replace("_left_out) > 0", "_left_out) > 2"))
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())
    tests["tests"] = [one for one in tests["tests"] if one["name"] == "UpstreamLeftOut"]
    (tmp_path / "one_test.yml").write_text(yaml.safe_dump(tests))

    with pytest.raises(AssertionError, match="UpstreamLeftOut"):
        promtool("test", "rules", "one_test.yml", cwd=tmp_path)


def test_without_apt_one_sentence_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotInstalled, match=r"^The tests of the monitoring need Debian's apt-get .*\.$"):
        install(tmp_path / "tools")
