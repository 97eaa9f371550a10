"""No name in JSON changes by accident: renaming a variable must not rename a field."""

import json

from tests.contract.json_fields import FILE, json_fields


def test_names_in_json_are_those_that_callers_know() -> None:
    known = json.loads(FILE.read_text())
    fields = {(shape, name) for shape, names in json_fields().items() for name in names}
    listed = {(shape, name) for shape, names in known.items() for name in names}

    assert listed - fields == set(), "callers read these: see tests/contract/json_fields.py"
    assert fields - listed == set(), "run python -m tests.contract.json_fields"
