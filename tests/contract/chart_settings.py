"""What the Helm chart knows of the settings: which program reads which, and their schema. `make tables` writes it."""

import json
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from admin_api.settings import DatabaseSettings, ProgramSettings, SecretSettings
from admin_api.settings import Settings as AdminSettings
from gateway.settings import Settings as GatewaySettings
from gateway.web.env_settings import EnvSettings
from tests.contract.places import ROOT

CHART: Final = ROOT / "deploy" / "helm"
SETTINGS_FILE: Final = CHART / "files" / "settings.yaml"
SCHEMA_FILE: Final = CHART / "values.schema.json"
PREFIX: Final = "LITEMAAS_"
# Of the owner, who may change the ledger: only migrations get it.
OWNER_ONLY: Final = "owner_database_url"
# Of people's commands: where that user is deactivated, LiteLLM would not start.
PEOPLES: Final = "operator"
# By the name of the program in the chart. `litellm` is what `litemaas provider-keys exec` reads.
PROGRAMS: Final[dict[str, tuple[type[EnvSettings], ...]]] = {
    "gateway": (GatewaySettings, ProgramSettings),
    "admin": (AdminSettings, ProgramSettings),
    "migrate": (DatabaseSettings,),
    "litellm": (SecretSettings,),
}
# Kinds of JSON that a value is checked by; all others are text, which the program checks.
KINDS: Final = ("integer", "number", "boolean")
BOUNDS: Final = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum")


def variables() -> dict[str, dict[str, Any]]:
    """Every setting: `programs` that read it, whether it is a `secret`, whether one of them needs it (`required`)."""
    found: dict[str, dict[str, Any]] = {}
    for program, classes in PROGRAMS.items():
        for name, field in _fields(classes).items():
            is_owner = name == OWNER_ONLY
            if (is_owner and program != "migrate") or (name == PEOPLES and program != "admin"):
                continue
            about = found.setdefault(PREFIX + name.upper(), {"programs": [], "secret": _is_secret(field)})
            about["programs"].append(program)
            about["required"] = about.get("required", False) or field.is_required() or is_owner
    return dict(sorted(found.items()))


def _fields(classes: tuple[type[EnvSettings], ...]) -> dict[str, FieldInfo]:
    """Without prometheus-client's own variable."""
    fields = {name: field for one in classes for name, field in one.model_fields.items()}
    return {name: field for name, field in fields.items() if field.validation_alias is None}


def _is_secret(field: FieldInfo) -> bool:
    return _holds_secret(field.annotation)


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))


def settings_text() -> str:
    """files/settings.yaml of the chart."""
    lines = ["# Which program reads which setting: written by `make tables`."]
    for name, about in variables().items():
        flags = "".join(f", {flag}: {str(about[flag]).lower()}" for flag in ("secret", "required"))
        lines.append(f"{name}: {{programs: [{', '.join(about['programs'])}]{flags}}}")
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """values.schema.json with the settings of the code; the rest of it is written by hand."""
    schema = json.loads(SCHEMA_FILE.read_text())
    schema["properties"]["settings"]["properties"] = _properties()
    secrets = {name: {"$ref": "#/$defs/secretKey"} for name, about in variables().items() if about["secret"]}
    schema["properties"]["secretSettings"]["properties"] = secrets
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _properties() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for classes in PROGRAMS.values():
        for settings in classes:
            known = settings.model_json_schema(mode="validation")["properties"]
            for name, field in _fields((settings,)).items():
                if not _is_secret(field):
                    found.setdefault(PREFIX + name.upper(), _checked_by(known[name], field))
    return dict(sorted(found.items()))


def _checked_by(known: dict[str, Any], field: FieldInfo) -> dict[str, Any]:
    kinds = [known, *known.get("anyOf", ())]
    kind = next((one for one in kinds if one.get("type") in KINDS or "enum" in one), None)
    bounds = {key: kind[key] for key in BOUNDS if key in kind} if kind else {"type": "string", "minLength": 1}
    return {"description": field.description, **bounds}
