"""Query parameters are those of the route's OpenAPI entry, each once unless it is a list: any other is an error."""

from collections import Counter
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from gateway.domain.errors import GatewayError

# An answer names this many parameters, and this much of a name that the caller made up.
MAX_NAMED: Final = 50
MAX_NAME: Final = 100
# The types of parameters that may be repeated.
SEQUENCES: Final = (list, tuple, set, frozenset, Sequence)
# The only route whose parameters another party chooses: a client of OAuth must ignore those it does not know (RFC 6749,
# section 4.1.2), such as `iss` and `session_state`.
OPEN_PATHS: Final = ("/api/auth/callback",)


async def check_query(request: Request) -> None:
    """A dependency of every route, so that no filter is ignored. Raises GatewayError `validation_failed`, with the
    allowed names, for a parameter that the route does not have and for a single one that is repeated."""
    route = request.scope["route"]
    if not request.scope["query_string"] or route.path in OPEN_PATHS:
        return
    allowed = parameters_of(route.dependant)
    problems = {}
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in allowed:
            problems[name] = "unknown parameter"
        elif times > 1 and not allowed[name]:
            problems[name] = "may be given once only"
    if problems:
        raise _refusal(problems, sorted(allowed))


def parameters_of(dependant: Dependant) -> dict[str, bool]:
    """Names of the query parameters of a route, those of its dependencies included; true for those that may be
    repeated."""
    names: dict[str, bool] = {}
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = annotation.model_fields.items()
            names |= {field.alias or name: _is_list(field.annotation) for name, field in fields}
        else:
            names[parameter.alias] = _is_list(annotation)
    for below in dependant.dependencies:
        names |= parameters_of(below)
    return names


def _is_list(annotation: Any) -> bool:
    """Whether a list is allowed, as in `list[str] | None`; the dependencies may have annotated it further."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return any(_is_list(part) for part in get_args(annotation))
    return (get_origin(annotation) or annotation) in SEQUENCES


def _refusal(problems: dict[str, str], allowed: list[str]) -> GatewayError:
    fields = [{"field": _printable(name), "message": problem} for name, problem in list(problems.items())[:MAX_NAMED]]
    reported = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
    names = f"Allowed here: {', '.join(allowed)}" if allowed else "No query parameter is allowed here"
    return GatewayError(
        "validation_failed",
        f"The query is not valid. {reported}. {names}.",
        details={"fields": fields, "allowed": allowed},
    )


def _printable(name: str) -> str:
    """Names may hold surrogates, which cannot be encoded."""
    return name[:MAX_NAME].encode(errors="replace").decode()
