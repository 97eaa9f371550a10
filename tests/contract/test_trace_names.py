"""Names of OpenTelemetry in the documents: they are those of its semantic conventions, and those that are used."""

import re

from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes, http_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from tests.contract.tables import ROOT
from tests.contract.test_alert_rules import SERIES

KNOWN = {
    value
    for module in (gen_ai_attributes, gen_ai_metrics, http_attributes, error_attributes)
    for value in vars(module).values()
    if isinstance(value, str)
}
NAME = re.compile(r"`((?:gen_ai|http|error)\.[a-z_.]+)`")
PAGE = (ROOT / "docs" / "traces.md").read_text()


def test_the_documents_name_what_the_conventions_have() -> None:
    named = {
        name for page in ("metrics", "traces") for name in NAME.findall((ROOT / "docs" / f"{page}.md").read_text())
    }

    assert named
    assert named - KNOWN == set()


def test_the_page_names_every_attribute_and_step() -> None:
    """As the code sets them; tests/functional/test_traces.py sees which there are."""
    code = "".join((ROOT / "gateway" / name).read_text() for name in ("tracing.py", "proxy.py"))
    attributes = set(re.findall(r'"((?:gen_ai|http|error|litemaas)\.[a-z_.]+)"', code))
    steps = set(re.findall(r'\bstep\("(\w+)"', code)) | set(re.findall(r'start_span\("(\w+)"', code))

    assert {name for name in attributes if f"`{name}`" not in PAGE} == set()
    assert {name for name in steps if f"| `{name}` |" not in PAGE} == set()


def test_our_metrics_of_the_table_exist() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text().split("## Names of OpenTelemetry")[1].split("## ")[0]
    ours = {
        name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`(litemaas_\w+)`", line)
    }

    assert ours
    assert {name for name in ours if name not in SERIES and f"{name}_bucket" not in SERIES} == set()
