"""Columns of tables. The kind of a column follows from its name and says how its cells are written."""

from enum import Enum, auto
from typing import Final, NamedTuple


class Kind(Enum):
    """NAME: what the next command takes or a person looks for. MOMENT: a time to the minute; INSTANT: to the second, of
    what is looked for in logs. TEXT: a sentence or a URL, which makes room first where not all fits one line."""

    NAME = auto()
    NUMBER = auto()
    MOMENT = auto()
    INSTANT = auto()
    TEXT = auto()


class Column(NamedTuple):
    """A column of a table, by the name of its field."""

    name: str
    kind: Kind


_NAMES: Final = """
    about account actor after alive applies_to before breaker channel charge code day email enabled ending error_class
    estimated_why event events finding format group hidden host hour id invited_by ip key kind label last_four level
    listed mode model model_asked models month name new now of old owner period price provider reachable reference
    restricted role service_tier shadow source status subject team time_zone unit user version week weekday window
    worker would_refuse
"""
_NUMBERS: Final = """
    above amount begun boost bytes calls count counted dearer_calls deployments failed limit members p50 p90 p95 p99
    pid remaining requested reserved rows share success_share tokens used waiting
"""
_TEXTS: Final = "address cause error issuer last_outcome problem reason receiver url"
# By the whole name; others by how they end.
_KINDS: Final = {
    **dict.fromkeys(_NAMES.split(), Kind.NAME),
    **dict.fromkeys(_NUMBERS.split(), Kind.NUMBER),
    "oldest": Kind.MOMENT,
    **dict.fromkeys(("at", "started_at"), Kind.INSTANT),
    **dict.fromkeys(_TEXTS.split(), Kind.TEXT),
}
_ENDS: Final = {
    "_at": Kind.MOMENT,
    "_by": Kind.NAME,
    "_email": Kind.NAME,
    "_four": Kind.NAME,
    "_id": Kind.NAME,
    "_ms": Kind.NUMBER,
    "_name": Kind.NAME,
    "_percent": Kind.NUMBER,
    "_status": Kind.NAME,
    "_tokens": Kind.NUMBER,
    "_usd": Kind.NUMBER,
}


def columns(*names: str) -> tuple[Column, ...]:
    """Raises KeyError for a name of no kind. Lists call it when they are imported, so that none is found by a user."""
    return tuple(Column(name, kind_of(name)) for name in names)


def kind_of(name: str) -> Kind:
    """By the name, or by how it ends. Raises KeyError."""
    _, mark, end = name.rpartition("_")
    kind = _KINDS.get(name) or _ENDS.get(mark + end)
    if kind is None:
        raise KeyError(f"the column {name} has no kind: give it one in admin_api/cli/columns.py")
    return kind
