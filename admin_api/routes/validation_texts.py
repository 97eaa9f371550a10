"""What is wrong with a value of a request, in plain words: Pydantic's errors speak of its types."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

NUMBER, WHOLE_NUMBER, TIME = "must be a number", "must be a whole number", "must be a time, e.g. 2027-01-31T12:00:00Z"
# Types of errors by how they begin, the first that fits.
TEXTS: Final[Sequence[tuple[str, str]]] = (
    ("missing", "is required"),
    ("extra_forbidden", "is not known here"),
    ("int_", WHOLE_NUMBER),
    ("float_", NUMBER),
    ("decimal_", NUMBER),
    ("finite_number", NUMBER),
    ("bool_", "must be true or false"),
    ("string_type", "must be text"),
    ("string_unicode", "contains characters that cannot be stored"),
    ("string_pattern_mismatch", "does not have the required form"),
    ("list_", "must be a list"),
    ("tuple_", "must be a list"),
    ("set_", "must be a list"),
    ("dict_", "must be an object"),
    ("model_", "must be an object"),
    ("mapping_", "must be an object"),
    ("timezone_", "needs a time zone, e.g. 2027-01-31T12:00:00Z"),
    ("datetime_", TIME),
    ("date_", "must be a date, e.g. 2027-01-31"),
    ("uuid_", "must be a UUID"),
    ("none_required", "must be null"),
)
WITH_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than_equal": lambda bound: f"must be at least {bound['ge']}",
    "greater_than": lambda bound: f"must be more than {bound['gt']}",
    "less_than_equal": lambda bound: f"must be at most {bound['le']}",
    "less_than": lambda bound: f"must be less than {bound['lt']}",
    "string_too_short": lambda bound: f"must have at least {bound['min_length']} characters",
    "string_too_long": lambda bound: f"must have at most {bound['max_length']} characters",
    "too_short": lambda bound: f"must have at least {bound['min_length']} entries",
    "too_long": lambda bound: f"must have at most {bound['max_length']} entries",
    "literal_error": lambda bound: f"must be {str(bound['expected']).replace(chr(39), '')}",
    "enum": lambda bound: f"must be {str(bound['expected']).replace(chr(39), '')}",
}


def text_of(problem: Mapping[str, Any]) -> str:
    """Without the field's name, so that both make a sentence."""
    kind = str(problem["type"])
    if kind in WITH_BOUNDS:
        return WITH_BOUNDS[kind](problem.get("ctx") or {})
    if kind == "value_error":
        # Raised by our own checks.
        return str(problem["msg"]).removeprefix("Value error, ")
    return next((text for beginning, text in TEXTS if kind.startswith(beginning)), "is not valid")


def field_of(problem: Mapping[str, Any], body: Any) -> str:
    """`name` instead of `body.name`; the place itself where nothing is below it. Where a value may have one of several
    types, Pydantic names the type behind the field: what is no field of the body and no number of an entry."""
    place, *parts = problem["loc"]
    if place != "body":
        return str(parts[0]) if parts else str(place)
    names: list[str] = []
    inside = body
    for part in parts:
        if isinstance(inside, list) and isinstance(part, int):
            inside = inside[part] if part < len(inside) else None
        elif isinstance(inside, dict) and (part in inside or problem["type"] == "missing"):
            inside = inside.get(part)
        elif isinstance(body, list | dict):
            continue
        names.append(str(part))
    return ".".join(names) or str(place)


def fields_of(problems: Sequence[Mapping[str, Any]], body: Any) -> list[dict[str, str]]:
    """Each field once, with all it may be."""
    texts: dict[str, list[str]] = {}
    for problem in problems:
        found = texts.setdefault(field_of(problem, body), [])
        text = text_of(problem)
        if text not in found:
            found.append(text)
    return [{"field": field, "message": " or ".join(found)} for field, found in texts.items()]
