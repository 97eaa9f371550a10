"""Names that programs read in the admin API's JSON and in `litemaas … --json`, as `json_fields.json` lists them.

`python -m tests.contract.json_fields` writes the list again after a change that is meant. A name that is missing from
the new list breaks callers: say so in CHANGELOG.md under "Needs action".
"""

import json
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

from pydantic import BaseModel

import admin_api.schemas

FILE: Final = Path(__file__).parent / "json_fields.json"


def json_fields() -> dict[str, list[str]]:
    """The fields of each shape of `admin_api/schemas`."""
    modules = [import_module(f"admin_api.schemas.{module.name}") for module in iter_modules(admin_api.schemas.__path__)]
    shapes = [
        shape
        for module in modules
        for shape in vars(module).values()
        if isinstance(shape, type) and issubclass(shape, BaseModel) and shape.__module__ == module.__name__
    ]
    return {shape.__name__: list(shape.model_fields) for shape in shapes if shape.model_fields}


if __name__ == "__main__":
    FILE.write_text(json.dumps(json_fields(), indent=1, sort_keys=True) + "\n")
