"""The container files, checked without a container engine."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from admin_api.operations.models.provider_keys import NAME, PREFIX
from admin_api.settings import ADMIN_METRICS_PORT, GATEWAY_METRICS_PORT, ProgramSettings, SecretSettings
from admin_api.settings import Settings as AdminSettings
from deploy.image.compose_file import mounted_file, needs, needs_in_all
from deploy.image.engines import NO_ENGINE
from gateway.settings import Settings as GatewaySettings
from tests.contract.tables import ROOT

DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SETTINGS = {
    f"LITEMAAS_{name.upper()}"
    for settings in (AdminSettings, GatewaySettings, ProgramSettings)
    for name in settings.model_fields
}


# Which services serve metrics, and where.
METRICS_PORTS = {
    name: ADMIN_METRICS_PORT if service["command"][0] == "admin-api" else GATEWAY_METRICS_PORT
    for name, service in COMPOSE["services"].items()
    if service.get("command", [""])[0] in ("gateway", "admin-api")
}


def run(*command: str) -> None:
    done = subprocess.run([str(TOOLS / command[0]), *command[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_follows_good_practice() -> None:
    run("hadolint", "--failure-threshold", "info", "deploy/Dockerfile")


def test_the_compose_file_is_valid_for_its_schema() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


@pytest.mark.parametrize("name", ["compose.yaml", "make_env.sh"])
def test_every_setting_the_files_name_exists(name: str) -> None:
    named = set(re.findall(r"\bLITEMAAS_[A-Z0-9_]+", (DEPLOY / name).read_text()))

    assert named
    assert named <= SETTINGS


@pytest.mark.parametrize(("service", "settings"), [("gateway-1", GatewaySettings), ("gateway-2", GatewaySettings),
                                                   ("admin", AdminSettings), ("litellm", SecretSettings)])  # fmt: skip
def test_a_service_has_every_setting_it_needs(service: str, settings: Any) -> None:
    required = {f"LITEMAAS_{name.upper()}" for name, field in settings.model_fields.items() if field.is_required()}

    assert required <= set(COMPOSE["services"][service]["environment"])


def test_no_secret_has_a_default_and_make_env_generates_all() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?\}", text))
    made = set(re.findall(r"^(\w+)=", (DEPLOY / "make_env.sh").read_text(), re.MULTILINE))

    assert needed == made
    assert set(re.findall(r"\$\{(\w+):-", text)) == {"LITEMAAS_GATEWAY_URL"}


def test_litellm_gets_its_provider_keys_from_the_provider_keys_command() -> None:
    config = yaml.safe_load((DEPLOY / "litellm" / "config.yaml").read_text())
    keys = {model["litellm_params"]["api_key"] for model in config["model_list"]}
    stages = re.split(r"^FROM .* AS ", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    litellm = next(stage for stage in stages if stage.startswith("litellm\n"))

    assert keys
    assert all(re.fullmatch(NAME, key.removeprefix(f"os.environ/{PREFIX}")) for key in keys)
    assert 'ENTRYPOINT ["litemaas", "provider-keys", "exec", "--", ' in litellm
    assert COMPOSE["services"]["litellm"]["build"]["target"] == "litellm"
    # What is built if nobody names a stage.
    assert stages[-1].startswith("litemaas\n")


def test_generated_secrets_are_accepted(tmp_path: Path) -> None:
    script = tmp_path / "make_env.sh"
    script.write_text((DEPLOY / "make_env.sh").read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    again = subprocess.run(["sh", str(script)], capture_output=True)

    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    about = {name.removeprefix("LITEMAAS_").lower(): value for name, value in made.items() if name in SETTINGS}
    AdminSettings.model_validate(about | {"database_url": "postgresql://a:b@c/d", "litellm_urls": "http://litellm"})
    assert again.returncode != 0
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_the_image_has_the_tested_versions() -> None:
    pins = [set(re.findall(r"^([\w.\[\]-]+==\S+)", path.read_text(), re.MULTILINE))
            for path in (DEPLOY / "requirements.lock", ROOT / "requirements.lock")]  # fmt: skip

    assert len(pins[0]) > 20
    assert pins[0] < pins[1]
    assert not [pin for pin in pins[0] if pin.startswith(("pytest", "ruff", "mypy"))]


def test_the_image_says_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (DEPLOY / "Dockerfile").read_text()

    assert re.findall(r"^ARG VERSION=(\S+)$", text, re.MULTILINE) == [project["version"]]
    assert f'licenses="{project["license"]}"' in text
    assert f'description="{project["description"]}"' in text


def test_without_an_engine_the_image_is_not_built_and_one_sentence_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.image", "test"],
        env={"PATH": "/nonexistent"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip() == NO_ENGINE


def test_prometheus_scrapes_all_programs() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}

    assert targets == {f"{name}:{port}" for name, port in METRICS_PORTS.items()}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_waits_for_the_stores_that_its_environment_names(name: str) -> None:
    service = COMPOSE["services"][name]
    named = set(re.findall(r"@(postgres|valkey):", " ".join(map(str, service.get("environment", {}).values()))))

    assert named <= needs_in_all(name, COMPOSE["services"])
    assert all(
        condition == ("service_completed_successfully" if needed == "migrate" else "service_healthy")
        for needed, condition in needs(service).items()
        if needed in ("migrate", "postgres", "valkey")
    )


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    grafana = COMPOSE["services"]["grafana"]
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    provider = yaml.safe_load((provisioning / "dashboards" / "litemaas.yaml").read_text())["providers"][0]
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]

    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in COMPOSE["services"]["prometheus"]["ports"]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]
    assert mounted_file(grafana, provider["options"]["path"]) == DEPLOY / "grafana" / "dashboards"
    assert mounted_file(grafana, "/etc/grafana/provisioning") == provisioning


def test_s11_metrics_are_within_reach_of_prometheus_and_on_no_port_of_the_host() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    listen = {COMPOSE["services"][name]["environment"]["LITEMAAS_METRICS_LISTEN"] for name in METRICS_PORTS}

    assert len(METRICS_PORTS) == 3
    assert listen == {"0.0.0.0"}
    assert published
    assert not {int(str(port).rpartition(":")[2]) for port in published} & set(METRICS_PORTS.values())


def test_the_documented_roles_are_those_of_the_script() -> None:
    script = (DEPLOY / "postgres" / "create_roles.sh").read_text().split("<<'SQL'\n")[1].split("SQL\n")[0]
    page = (ROOT / "docs" / "operations.md").read_text().split("```sql\n")[1].split("```")[0]

    documented = [line.split("--")[0].strip() for line in page.splitlines()]
    assert documented == [re.sub(r":'\w+'", "'…'", line) for line in script.splitlines()]


def test_every_file_a_service_mounts_or_copies_exists() -> None:
    mounted = [
        volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", ())
    ]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

    assert all((DEPLOY / path).exists() for path in mounted if path.startswith("."))
    assert all((ROOT / path).exists() for line in copied for path in line.split())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{path}" for line in copied for path in line.split()} <= set(ignored)
