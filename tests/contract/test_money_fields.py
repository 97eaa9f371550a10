"""A1: every name of money that a surface takes or shows ends with its unit, in OpenAPI, in shapes and in options."""

import re
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, Final

import click
import pytest
import typer

from admin_api.cli.app import GROUPS, build_app
from admin_api.main import create_app
from admin_api.settings import Settings
from tests.contract.json_fields import json_fields

UNIT: Final = re.compile(r"_usd(_per_[a-z]+)?$")
MONEY: Final = re.compile(r"(^|_)(usd|cost|costs|price|prices|amount|budget|spend|spent|fee|money|charged)(_|$)")
# Names that look like money. Each is either no number, or a count that is null or refused where the kind is cost.
NO_MONEY: Final = {
    "amount": "a count; for kind cost it is refused in requests and null in answers",
    "new_amount": "as amount",
    "boost_amount": "as amount",
    "replaced_amount": "as amount",
    "price": "an object, whose description names the unit",
    "unused_prices": "names of fields",
    "differing_prices": "names of models",
    "kept_admin_prices": "names of models",
    "without_price": "names of models",
}


def without_unit(name: str) -> bool:
    return bool(MONEY.search(name)) and not UNIT.search(name) and name not in NO_MONEY


def openapi() -> dict[str, Any]:
    settings = {
        "database_url": "postgresql://a:b@c/d",
        "litellm_urls": "http://x",
        "litellm_api_key": "x",
        "key_peppers": f"1:{token_hex(32)}",
        "secret_keys": f"1:{token_hex(32)}",
        "admin_token": token_hex(32),
    }
    return create_app(Settings.model_validate(settings)).openapi()


def names_in_openapi() -> Iterator[tuple[str, str]]:
    document = openapi()
    for shape, schema in document["components"]["schemas"].items():
        for name in schema.get("properties", {}):
            yield shape, name
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path}", parameter["name"]


def names_in_shapes() -> Iterator[tuple[str, str]]:
    for shape, names in json_fields().items():
        for name in names:
            yield shape, name


def names_in_options() -> Iterator[tuple[str, str]]:
    def walk(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
        for parameter in command.params:
            if parameter.name is not None:
                yield path, parameter.name
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{path} {name}")

    for group in GROUPS:
        yield from walk(typer.main.get_command(build_app([group])), "litemaas")


@pytest.mark.parametrize("names", [names_in_openapi, names_in_shapes, names_in_options])
def test_a1_every_name_of_money_ends_with_its_unit(names: Any) -> None:
    found = list(names())

    assert [(place, name) for place, name in found if name.endswith("_usd")] != []
    assert sorted({(place, name) for place, name in found if without_unit(name)}) == []
    assert [
        name for name in ("monthly_cost", "cost", "budget", "amount_x", "used_amount") if not without_unit(name)
    ] == []


def test_a1_where_an_amount_may_be_given_its_units_may_be_too() -> None:
    """`amount` is never alone, so that nobody has to guess its unit."""
    for names in (names_in_openapi, names_in_shapes, names_in_options):
        places: dict[str, set[str]] = {}
        for place, name in names():
            places.setdefault(place, set()).add(name)
        for place, known in places.items():
            for name in known & {"amount", "new_amount", "boost_amount", "replaced_amount"}:
                if place != "UnlimitedView":
                    assert {f"{name}_usd", f"{name}_nano_usd"} <= known, (place, name)
