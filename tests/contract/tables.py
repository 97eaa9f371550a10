"""The tables of docs/ that are generated from the code. `make tables` writes them."""

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, get_args, get_origin

from prometheus_client import Counter
from pydantic_core import PydanticUndefined

from admin_api import metrics as admin_metrics
from admin_api.settings import ProgramSettings
from admin_api.settings import Settings as AdminSettings
from gateway import metrics
from gateway.domain.errors import CODES
from gateway.endpoints.allowed_fields import LISTED_FIELDS, UNSAFE_FIELDS
from gateway.settings import Settings as GatewaySettings
from tests.contract.chart_settings import SCHEMA_FILE, SETTINGS_FILE, schema_text, settings_text
from tests.contract.commands import commands_text
from tests.contract.released_migrations import FILE as MIGRATIONS_FILE
from tests.contract.released_migrations import released_text
from tests.contract.vendor_paths import vendor_paths_table

ROOT: Final = Path(__file__).parents[2]
PREFIX: Final = "LITEMAAS_"
# Not a setting of ours: prometheus-client's own.
NOT_OURS: Final = "prometheus_multiproc_dir"


def settings_table() -> str:
    """Every variable, which program reads it, what it is when it is not set."""
    programs: dict[str, list[str]] = {}
    fields: dict[str, Any] = {}
    for program, settings in (("gateway", GatewaySettings), ("admin", AdminSettings), ("both", ProgramSettings)):
        for name, field in settings.model_fields.items():
            if name != NOT_OURS:
                programs.setdefault(name, []).append(program)
                fields.setdefault(name, field)
    lines = ["| variable | read by | default | what |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = "required" if field.default is PydanticUndefined else _shown(field.default)
        read_by = " and ".join(programs[name])
        what = field.description.replace("|", "/") + _words(field.annotation)
        lines.append(f"| `{PREFIX}{name.upper()}` | {read_by} | {default} | {what} |")
    return "\n".join(lines)


def _words(annotation: Any) -> str:
    """Those that the setting may be, where it may be no others."""
    return f" ({', '.join(f'`{word}`' for word in get_args(annotation))})" if get_origin(annotation) is Literal else ""


def _shown(default: Any) -> str:
    """As it is written in the environment."""
    if default in (None, "", (), {}):
        return "–"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def errors_table() -> str:
    """Every code with its status."""
    lines = ["| code | status |", "|---|---|"]
    return "\n".join(lines + [f"| `{code}` | {status} |" for code, (status, _) in CODES.items()])


def admin_metrics_table() -> str:
    """The admin API's."""
    return metrics_table(admin_metrics)


def metrics_table(module: ModuleType = metrics) -> str:
    """Every metric as Prometheus sees it."""
    lines = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for variable, metric in vars(module).items():
        if not variable.startswith("_") and hasattr(metric, "_documentation"):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "–"
            lines.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(lines)


def contracts_list() -> str:
    """import-linter's contracts: the name of each, and the layers, highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lines = []
    for contract in contracts:
        lines.append(f"- {contract['name']}" + (f" (`{contract['containers'][0]}`):" if "layers" in contract else "."))
        for number, layer in enumerate(contract.get("layers", ()), start=1):
            names = (f"`{name.strip('()')}`" + " (to come)" * name.startswith("(") for name in layer.split(" | "))
            lines.append(f"  {number}. {', '.join(names)}")
    return "\n".join(lines)


def allowed_fields_table() -> str:
    """What each endpoint takes, tool types apart."""
    lines = ["| endpoint | fields | tool types |", "|---|---|---|"]
    for endpoint, names in LISTED_FIELDS.items():
        fields = sorted(name for name in names if not name.startswith("tools."))
        tools = sorted(name.removeprefix("tools.") for name in names if name.startswith("tools."))
        cells = (", ".join(f"`{name}`" for name in found) or "–" for found in (fields, tools))
        lines.append(f"| `{endpoint}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def unsafe_fields_table() -> str:
    """What is refused although a vendor or a model server knows it, and why."""
    lines = ["| endpoint | field | what it could reach |", "|---|---|---|"]
    for section, fields in UNSAFE_FIELDS.items():
        is_prefix = section in ("tools", "content")
        endpoint = "all" if is_prefix or section == "*" else f"`{section}`"
        prefix = f"{section}." if is_prefix else ""
        lines += [f"| {endpoint} | `{prefix}{name}` | {why} |" for name, why in fields.items()]
    return "\n".join(lines)


TABLES: Final[tuple[tuple[Path, str, Callable[[], str]], ...]] = (
    (ROOT / "docs" / "settings.md", "settings", settings_table),
    (ROOT / "docs" / "errors.md", "errors", errors_table),
    (ROOT / "docs" / "endpoints.md", "vendor-paths", vendor_paths_table),
    (ROOT / "docs" / "endpoints.md", "allowed-fields", allowed_fields_table),
    (ROOT / "docs" / "endpoints.md", "unsafe-fields", unsafe_fields_table),
    (ROOT / "docs" / "architecture.md", "contracts", contracts_list),
    (ROOT / "docs" / "cli.md", "commands", commands_text),
    (ROOT / "docs" / "metrics.md", "metrics", metrics_table),
    (ROOT / "docs" / "metrics.md", "admin-metrics", admin_metrics_table),
)


# Whole files.
FILES: Final[tuple[tuple[Path, Callable[[], str]], ...]] = (
    (SETTINGS_FILE, settings_text),
    (SCHEMA_FILE, schema_text),
    (MIGRATIONS_FILE, released_text),
)


def with_table(text: str, name: str, table: str) -> str:
    """The page with the table between its marks."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    assert marks.search(text), f"the page has no marks for {name}"
    return marks.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def with_rows(text: str, name: str, head: Sequence[str], names: Iterable[str], rows: Iterable[str]) -> str:
    """The page with these rows in a table of measurements, and with the rows that it has of other `names`. A row's
    name is its first cell, but for what stands there in parentheses."""
    lines = [*text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0].splitlines(), *rows]
    known = {line.split(" | ")[0].removeprefix("| ").partition(" (")[0]: line for line in lines}
    return with_table(text, name, "\n".join([*head, *(known[one] for one in names if one in known)]))


def main() -> None:
    """Writes every table into its page, and the files."""
    for path, name, table in TABLES:
        path.write_text(with_table(path.read_text(), name, table()))
    for path, text in FILES:
        path.write_text(text())


if __name__ == "__main__":
    main()
