"""Lists the names that LiteLLM's own code reads from a dict or takes as an argument, by reading its source.

Providers' transformations (`llms/`) are left out: what they read goes to the model that was granted. So are types, and
what only logs after the call (`integrations/`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.embedded.litellm_venv import FOLDER
from gateway.endpoints.allowed_fields import LISTED_FIELDS

LEFT_OUT: Final = ("llms", "types", "integrations")
# The way of a call through LiteLLM: here a new place that reads an allowed field is worth a look.
CALL_PATH: Final = (
    "anthropic_interface", "completion_extras", "endpoints", "images", "main", "realtime_api", "rerank_api",
    "responses", "router", "router_strategy", "router_utils", "utils", "litellm_core_utils",
    "proxy/anthropic_endpoints", "proxy/auth", "proxy/common_request_processing", "proxy/common_utils",
    "proxy/hooks", "proxy/image_endpoints", "proxy/litellm_pre_call_utils", "proxy/proxy_server",
    "proxy/realtime_endpoints", "proxy/rerank_endpoints", "proxy/response_api_endpoints",
    "proxy/route_llm_request", "proxy/utils",
)  # fmt: skip
LISTED: Final = Path(__file__).with_name("litellm_reads.txt")
READERS: Final = frozenset({"get", "pop", "setdefault", "__getitem__"})


def list_reads(package: Path) -> dict[str, set[str]]:
    """Name → the modules that read it; `package` is the folder of the installed LiteLLM."""
    reads: dict[str, set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        module = file.relative_to(package)
        if module.parts[0] in LEFT_OUT:
            continue
        for name in _names(ast.parse(file.read_bytes())):
            reads.setdefault(name, set()).add(module.with_suffix("").as_posix())
    return reads


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load() | ast.Del()):
                yield name
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(name)), *_]) if attr in READERS:
                yield name
            case ast.Compare(left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()]):
                yield name
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                # A body is handed on as keyword arguments.
                yield from (argument.arg for argument in (*node.args.args, *node.args.kwonlyargs))


def on_the_call_path(reads: dict[str, set[str]], names: set[str]) -> str:
    """One line for each of `names` that is read there, with the modules: what `litellm_reads.txt` holds."""
    lines = []
    for name in sorted(names & reads.keys()):
        modules = sorted(
            module
            for module in reads[name]
            if any(module == part or module.startswith(f"{part}/") for part in CALL_PATH)
        )
        if modules:
            lines.append(f"{name}: {' '.join(modules)}\n")
    return "".join(lines)


def main() -> None:
    """Writes litellm_reads.txt from the installed LiteLLM."""
    package = next(FOLDER.glob("lib/*/site-packages/litellm"))
    LISTED.write_text(on_the_call_path(list_reads(package), allowed_names()))


def allowed_names() -> set[str]:
    """Of all endpoints, without tool types."""
    return {name for names in LISTED_FIELDS.values() for name in names if not name.startswith("tools.")}


if __name__ == "__main__":
    main()
