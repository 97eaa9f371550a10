"""What holds for the program as a whole."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from deploy.embedded import litellm_venv
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS
from gateway.endpoints.registry import ENDPOINTS
from gateway.endpoints.requests import decode_fields
from tests.allowed_fields import vendor_fields

ROOT = Path(__file__).parents[2]


def test_the_gateway_does_not_import_fastapi() -> None:
    program = "import sys, gateway.main; print([m for m in sys.modules if m.split('.')[0] in ('fastapi', 'admin_api')])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == "[]"


def test_refused_parameters_are_those_of_the_installed_litellm() -> None:
    python = litellm_venv.python()
    assert python.exists(), "LiteLLM is not installed: run `make litellm`."
    script = ROOT / "deploy" / "embedded" / "list_litellm_parameters.py"
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    done = subprocess.run([python, "-P", script], capture_output=True, text=True, check=True, env=env)

    listed = (ROOT / "gateway" / "endpoints" / "litellm_parameters.txt").read_text()
    assert done.stdout == listed, "LiteLLM's lists have changed: run `make litellm-parameters` and read the difference"


def test_s1_the_lists_of_allowed_fields_are_those_of_the_locked_packages() -> None:
    assert vendor_fields.LISTED.read_text() == vendor_fields.text(), "run `make allowed-fields` and read the difference"


def test_s1_what_recorded_clients_send_is_allowed() -> None:
    for file, endpoint in vendor_fields.CLIENTS.items():
        for request in json.loads((vendor_fields.RECORDED / file).read_text())["requests"]:
            if isinstance(body := request.get("body"), dict):
                ALLOWED_FIELDS.check(endpoint, decode_fields(json.dumps(body).encode()))


def test_upstream_paths_are_constants_of_the_openai_api() -> None:
    assert all(endpoint.path.startswith("/v1/") and "{" not in endpoint.path for endpoint in ENDPOINTS)
    assert len({endpoint.path for endpoint in ENDPOINTS}) == len({endpoint.name for endpoint in ENDPOINTS})


def test_the_wheel_contains_scripts_lists_migrations_and_docs(tmp_path: Path) -> None:
    build = "from hatchling.builders.wheel import WheelBuilder; print(next(WheelBuilder('.').build(directory=%r)))"
    subprocess.run([sys.executable, "-c", build % str(tmp_path)], check=True, capture_output=True, cwd=ROOT)

    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())

    assert {"gateway/storage/counters/lua/reserve.lua", "gateway/endpoints/litellm_parameters.txt"} <= names
    assert {"gateway/endpoints/allowed_fields.txt", "gateway/endpoints/unsafe_fields.toml"} <= names
    assert {f"litemaas_migrations/{path.name}" for path in (ROOT / "migrations").glob("*.sql")} <= names
    assert {f"litemaas_docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= names
