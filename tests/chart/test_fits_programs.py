"""What the rendered objects say of the programs is what the programs are: settings, ports, paths, times, metrics."""

import json
import math
import re
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest
import yaml
from certificates import Authority

from admin_api.cli import programs
from admin_api.settings import ADMIN_METRICS_PORT, GATEWAY_METRICS_PORT, SecretSettings
from admin_api.settings import Settings as AdminSettings
from gateway import metrics
from gateway.main import create_app as create_gateway
from gateway.settings import Settings as GatewaySettings
from gateway.web.metrics_server import PATH
from tests.chart.charts import CHART, ROOT, Helm, Object, containers, pods, values_of
from tests.contract.chart_settings import PROGRAMS, variables
from tests.contract.tables import FILES

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
# Of the images of others, and for addresses that have a password in them.
OTHER_VARIABLES: Final = set(re.findall(r"^(\w+)=", (ROOT / "deploy" / "make_env.sh").read_text(), re.MULTILINE)) | {
    "PGDATA", "LITELLM_MASTER_KEY"}  # fmt: skip
SECRETS: Final = {name for name, about in variables().items() if about["secret"]}
NEEDED: Final = {
    "gateway": GatewaySettings,
    "admin": AdminSettings,
    "commands": AdminSettings,
    "litellm": SecretSettings,
}
UNITS: Final = {"Mi": 2**20, "Gi": 2**30}
# What a worker takes besides the bodies of its calls: docs/capacity.md.
WORKER_BYTES: Final = 150 * 2**20


def all_containers(rendered: dict[str, list[Object]]) -> list[tuple[str, Object]]:
    """Of all examples, each with its component."""
    return [
        (template["metadata"]["labels"]["app.kubernetes.io/component"], one)
        for objects in rendered.values()
        for template in pods(objects).values()
        for one in containers(template)
    ]


def find(objects: list[Object], name: str, *kinds: str) -> Object:
    (found,) = [one for one in objects if one["metadata"]["name"] == name and one["kind"] in kinds]
    return found


def environment(container: Object) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container.get("env", ())}


@pytest.mark.parametrize("path", [path for path, _ in FILES], ids=[path.name for path, _ in FILES])
def test_the_chart_knows_the_settings_of_the_code(path: Any) -> None:
    assert path.read_text() == dict(FILES)[path](), "run make tables"


def test_every_setting_reaches_a_program_that_reads_it(helm: Helm) -> None:
    """With a value for each, of whatever kind its schema has."""
    values = values_of("ten-thousand-users")
    chart = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]
    samples = {"integer": 12345678, "number": 0.25, "boolean": False, "string": "text"}
    values["settings"] = {
        name: known["enum"][0] if "enum" in known else min(samples[known["type"]], known.get("maximum", math.inf))
        if known["type"] in ("integer", "number") else samples[known["type"]]
        for name, known in chart["settings"]["properties"].items()
    }  # fmt: skip
    values["settings"]["LITEMAAS_METRICS_LISTEN"] = "0.0.0.0:9999"
    values["secretSettings"] = {name: {"secret": "s"} for name in chart["secretSettings"]["properties"]}
    templates = pods(helm.objects(values))
    found = {
        name: environment(template["spec"]["containers"][0])
        for name, template in templates.items()
    }  # fmt: skip

    places = {"gateway": "StatefulSet/litemaas-gateway", "admin": "Deployment/litemaas-admin",
              "migrate": "Job/litemaas-migrate"}  # fmt: skip
    for name, about in variables().items():
        for program in set(about["programs"]) & set(places):
            assert name in found[places[program]], f"{name} does not reach {program}"
    assert found["StatefulSet/litemaas-gateway"]["LITEMAAS_MAX_BODY_BYTES_IN_FLIGHT"] == "12345678"
    assert found["StatefulSet/litemaas-gateway"]["LITEMAAS_CONNECT_TIMEOUT_S"] == "0.25"
    assert found["StatefulSet/litemaas-gateway"]["LITEMAAS_ACCESS_LOG"] == "false"
    (port,) = [
        one for one in containers(templates["StatefulSet/litemaas-gateway"])[0]["ports"] if one["name"] == "metrics"
    ]
    assert port["containerPort"] == 9999


def test_a_program_gets_what_it_reads_and_no_more(rendered: dict[str, list[Object]]) -> None:
    for component, container in all_containers(rendered):
        given = {name for name in environment(container) if name.startswith("LITEMAAS_")}
        program = "admin" if component == "commands" else component
        known = {name for name, about in variables().items() if program in about["programs"]}

        assert given <= known, component
        assert set(environment(container)) - given <= OTHER_VARIABLES, component
        assert "LITEMAAS_OWNER_DATABASE_URL" not in given or component == "migrate"
        if component in NEEDED and given:
            required = {
                f"LITEMAAS_{name.upper()}"
                for name, field in NEEDED[component].model_fields.items()
                if field.is_required()
            }
            assert required <= given, component
    assert {component for component, _ in all_containers(rendered)} >= set(PROGRAMS)


SAMPLES: Final = {
    "LITEMAAS_DATABASE_URL": "postgresql://a:b@postgres/c",
    "LITEMAAS_OWNER_DATABASE_URL": "postgresql://a:b@postgres/c",
    "LITEMAAS_LISTEN_DATABASE_URL": "postgresql://a:b@postgres/c",
    "LITEMAAS_REDIS_URL": "redis://:a@redis:6379/0",
    "LITEMAAS_LITELLM_API_KEY": "sk-1",
    "LITEMAAS_KEY_PEPPERS": f"1:{token_hex(32)}",
    "LITEMAAS_SECRET_KEYS": f"1:{token_hex(32)}",
    "LITEMAAS_ADMIN_TOKEN": token_hex(32),
    "LITEMAAS_OIDC_CLIENT_SECRET": token_hex(32),
    "LITEMAAS_OPENSHIFT_CLIENT_SECRET": token_hex(32),
    "LITEMAAS_SMTP_URL": "smtp://a:b@mail:587",
}


def filled_in(container: Object) -> dict[str, str]:
    """The environment as a pod has it, with samples for secrets."""
    found: dict[str, str] = {}
    for name, value in environment(container).items():
        text = SAMPLES.get(name, "ab12") if isinstance(value, dict) else value
        found[name] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], text)
    return found


def test_programs_accept_the_environment_of_the_examples(
    rendered: dict[str, list[Object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With certificates in place of those that their volumes would hold."""
    authority = Authority(tmp_path, "ca")
    client = authority.issue("client")
    files = {"ca.crt": authority.file, "tls.crt": client.file, "tls.key": client.key}
    checked = 0
    for component, container in all_containers(rendered):
        classes = PROGRAMS.get("admin" if component == "commands" else component, ())
        with monkeypatch.context() as patch:
            for name, value in filled_in(container).items():
                if name.endswith(("_CA_FILE", "_CERT_FILE", "_KEY_FILE")):
                    assert str(Path(value).parent) in {one["mountPath"] for one in container["volumeMounts"]}, name
                    value = str(files[Path(value).name])
                patch.setenv(name, value)
            for settings in classes if "env" in container else ():
                # Raises if any of them is missing or wrong.
                settings.read()
                checked += 1

    assert checked > 30


def test_secrets_come_from_secrets(rendered: dict[str, list[Object]]) -> None:
    """Or are addresses with a password from one."""
    for _, container in all_containers(rendered):
        for name, value in environment(container).items():
            if name in SECRETS | OTHER_VARIABLES - {"PGDATA"}:
                assert "secretKeyRef" in value or re.search(r"://\w*:\$\([A-Z_]+\)@", value), name
    assert not [one for objects in rendered.values() for one in objects if one["kind"] == "Secret"]


def test_a_password_stands_before_the_address_that_has_it(rendered: dict[str, list[Object]]) -> None:
    """Kubernetes fills in only what is above."""
    checked = 0
    for _, container in all_containers(rendered):
        names = list(environment(container))
        for name, value in environment(container).items():
            for used in re.findall(r"\$\((\w+)\)", str(value)):
                assert names.index(used) < names.index(name)
                checked += 1
    assert checked


def test_probes_ask_at_the_port_of_the_program(rendered: dict[str, list[Object]]) -> None:
    """For what test_pods_run.py asks running programs."""
    probed = {
        (component, probe, container[probe]["httpGet"]["port"], container[probe]["httpGet"]["path"])
        for component, container in all_containers(rendered)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if component in ("gateway", "admin")
    }

    assert probed == {
        (component, probe, "http", path)
        for component in ("gateway", "admin")
        for probe, path in (
            ("startupProbe", "/health/live"),
            ("livenessProbe", "/health/live"),
            ("readinessProbe", "/health/ready"),
        )
    }


def test_probes_of_litellm_are_those_that_the_gateway_and_the_admin_api_use(rendered: dict[str, list[Object]]) -> None:
    (container,) = containers(pods(rendered["one-team"])["Deployment/litemaas-litellm"])
    paths = ("gateway/upstream/client.py", "admin_api/operations/models/litellm_health.py")
    code = "".join((ROOT / path).read_text() for path in paths)

    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in code


def test_ports_are_those_that_the_programs_listen_on(rendered: dict[str, list[Object]]) -> None:
    metrics_ports = {"gateway": GATEWAY_METRICS_PORT, "admin": ADMIN_METRICS_PORT}
    for component, container in all_containers(rendered):
        ports = {one["name"]: one["containerPort"] for one in container.get("ports", ())}
        words = container.get("args", [])
        if "http" in ports:
            assert words[words.index("--port") + 1] == str(ports["http"]), component
        assert ports.get("metrics") == metrics_ports.get(component)


def test_the_image_is_what_the_pods_expect(rendered: dict[str, list[Object]]) -> None:
    """A number of its user, as `runAsNonRoot` asks; its program; the folder of its state, and no setting: a setting of
    the image would be one of every program."""
    stages = re.split(r"^FROM .* AS ", (ROOT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    last, base = stages[-1], next(stage for stage in stages if stage.startswith("base\n"))
    (container,) = containers(pods(rendered["one-team"])["Deployment/litemaas-gateway"])

    assert 'ENTRYPOINT ["litemaas"]' in last
    assert re.search(r"^USER [1-9]\d+$", base, re.MULTILINE)
    assert f" {environment(container)['LITEMAAS_STATE_DIR']}\n" in base
    assert "LITEMAAS_" not in base
    assert environment(container)["LITEMAAS_STATE_DIR"] in {one["mountPath"] for one in container["volumeMounts"]}


def test_services_lead_to_ports_of_the_pods_they_choose(rendered: dict[str, list[Object]]) -> None:
    for example, objects in rendered.items():
        templates = list(pods(objects).values())
        for one in objects:
            if one["kind"] != "Service":
                continue
            chosen = [pod for pod in templates if one["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
            names = {port["name"] for pod in chosen for container in containers(pod) for port in container["ports"]}
            assert len(chosen) == 1, (example, one["metadata"]["name"])
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= names


@pytest.mark.parametrize("name", ["gateway", "admin"])
async def test_a_pod_has_the_time_that_its_program_takes_to_end(
    name: str, rendered: dict[str, list[Object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the program computes it from the environment that the pod has. In a loop, as its pools ask."""
    for name_of_setting in (name for name, about in variables().items() if about["required"]):
        monkeypatch.setenv(name_of_setting, SAMPLES.get(name_of_setting, "http://litellm"))
    for objects in rendered.values():
        spec = find(objects, f"litemaas-{name}", "Deployment", "StatefulSet")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        given = environment(container)
        drain = given.get("LITEMAAS_DRAIN_TIMEOUT_S", str(GatewaySettings.model_fields["drain_timeout_s"].default))
        monkeypatch.setenv("LITEMAAS_DRAIN_TIMEOUT_S", drain)
        close_s = create_gateway().max_close_s
        before_s = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
        needed = before_s + float(given["LITEMAAS_SHUTDOWN_GRACE_S"]) + close_s

        assert needed < spec["terminationGracePeriodSeconds"] < needed + 10


def test_other_settings_of_the_end_change_the_time_of_the_pod(helm: Helm) -> None:
    values = values_of("one-team")
    values["settings"] |= {"LITEMAAS_SHUTDOWN_GRACE_S": 30, "LITEMAAS_DRAIN_TIMEOUT_S": 20.5}
    values["gateway"]["preStopSeconds"] = 0
    spec = find(helm.objects(values), "litemaas-gateway", "Deployment")["spec"]["template"]["spec"]

    assert spec["terminationGracePeriodSeconds"] == 30 + 2 * 20.5 + 10 + 5


def test_metrics_that_the_chart_names_exist(rendered: dict[str, list[Object]]) -> None:
    scaler = find(rendered["ten-thousand-users"], "litemaas-gateway", "HorizontalPodAutoscaler")
    (rule,) = scaler["spec"]["metrics"]
    monitors = [one for one in rendered["ten-thousand-users"] if one["kind"] == "ServiceMonitor"]
    jobs = {point["relabelings"][0]["replacement"] for one in monitors for point in one["spec"]["endpoints"]}
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())

    assert rule["pods"]["metric"]["name"] in {
        metric._name for metric in vars(metrics).values() if hasattr(metric, "_name")
    }
    assert {point["path"] for one in monitors for point in one["spec"]["endpoints"]} == {PATH}
    assert jobs == {job["job_name"] for job in prometheus["scrape_configs"]}


def test_monitors_choose_the_services_that_have_metrics(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["openshift"]
    for one in objects:
        if one["kind"] == "ServiceMonitor":
            wanted = one["spec"]["selector"]["matchLabels"].items()
            (service,) = [s for s in objects if s["kind"] == "Service" and wanted <= s["metadata"]["labels"].items()]
            assert [port["name"] for port in service["spec"]["ports"]] == ["metrics"]


def test_the_rules_are_those_of_prometheus_in_compose(rendered: dict[str, list[Object]]) -> None:
    rules = [one["spec"] for one in rendered["openshift"] if one["kind"] == "PrometheusRule"]

    files = (ROOT / "deploy" / "prometheus" / name for name in ("rules.yml", "alerts.yml"))
    assert rules == [yaml.safe_load(path.read_text()) for path in files]


def test_the_dashboards_are_those_of_compose(helm: Helm) -> None:
    """As the sidecar of Grafana's chart looks for them, with its default label."""
    values = values_of("openshift") | {"metrics": {"dashboards": {"enabled": True}}}
    found = [
        (one["metadata"]["labels"]["grafana_dashboard"], name, json.loads(text))
        for one in helm.objects(values)
        if one["kind"] == "ConfigMap" and "-dashboard-" in one["metadata"]["name"]
        for name, text in one["data"].items()
    ]

    files = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    assert sorted(found, key=lambda one: one[1]) == [
        ("1", f"litemaas-{path.name}", json.loads(path.read_text())) for path in files
    ]


def test_scripts_and_images_of_the_databases_are_those_of_compose(rendered: dict[str, list[Object]]) -> None:
    objects = rendered["one-team"]
    for name, script, place in (("postgres", "create_roles.sh", "postgres"), ("valkey", "start.sh", "valkey")):
        template = find(objects, f"litemaas-{name}", "StatefulSet")["spec"]["template"]
        config = find(objects, f"litemaas-{name}", "ConfigMap")
        assert containers(template)[0]["image"] == COMPOSE[name]["image"]
        assert config["data"][script] == (ROOT / "deploy" / place / script).read_text()
        user = template["spec"]["securityContext"]
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == COMPOSE[name]["user"]


def test_the_secret_that_make_env_writes_has_all_that_a_trial_needs(rendered: dict[str, list[Object]]) -> None:
    made = set(re.findall(r"^(\w+)=", (ROOT / "deploy" / "make_env.sh").read_text(), re.MULTILINE))
    asked = {
        value["secretKeyRef"]["key"]
        for name in ("one-team", "one-team, upgraded")
        for _, container in all_containers({name: rendered[name]})
        for value in environment(container).values()
        if isinstance(value, dict)
    }

    # The chart has no Grafana.
    assert asked == made - {"GRAFANA_PASSWORD"}


def size(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


def test_bodies_and_journals_of_all_workers_fit(rendered: dict[str, list[Object]]) -> None:
    bodies = GatewaySettings.model_fields["max_body_bytes_in_flight"].default
    journal = GatewaySettings.model_fields["journal_max_bytes"].default
    for example, objects in rendered.items():
        gateway = find(objects, "litemaas-gateway", "Deployment", "StatefulSet")
        (container,) = containers(gateway["spec"]["template"])
        workers = int(container["args"][container["args"].index("--workers") + 1])
        claims = gateway["spec"].get("volumeClaimTemplates", ())
        volumes = gateway["spec"]["template"]["spec"]["volumes"]
        room = [one["spec"]["resources"]["requests"]["storage"] for one in claims] or [
            one["emptyDir"]["sizeLimit"] for one in volumes if one["name"] == "state"]  # fmt: skip

        assert size(container["resources"]["limits"]["memory"]) >= workers * (bodies + WORKER_BYTES), example
        assert size(room[0]) >= workers * journal, example


def test_commands_of_the_examples_and_notes_exist(helm: Helm, rendered: dict[str, list[Object]]) -> None:
    known = command_words()
    used = [container["args"] for component, container in all_containers(rendered)
            if component in ("migrate", "commands") and "args" in container]  # fmt: skip
    notes = helm.render(values_of("one-team"))["NOTES.txt"]
    used += [line.split()[1:] for line in notes.splitlines() if line.startswith("  litemaas ")]

    assert len(used) > 10
    assert [words for words in used if tuple(words[:1]) not in known and tuple(words[:2]) not in known] == []


def command_words() -> set[tuple[str, ...]]:
    text = (ROOT / "docs" / "cli.md").read_text()
    pairs = {tuple(words.split()) for words in re.findall(r"^### (\S+ \S+)$", text, re.MULTILINE)}
    return pairs | {(name.replace("_", "-"),) for name in vars(programs) if name in ("migrate", "gateway", "admin_api")}
