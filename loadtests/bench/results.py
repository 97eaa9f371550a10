"""What was measured: a list of values, one a run, of each figure of a target under a load."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self


class Key(NamedTuple):
    """`load` says how much: `c = 16`, `200 streams`."""

    stage: str
    target: str
    load: str


def spread(values: Sequence[float]) -> float:
    """The distance between the largest and the smallest value, as a share of the median; 0 for one value."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / abs(middle) if middle else 0.0


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Run by run: other load on the machine affects both sides of a ratio of one run."""
    return [one / other for one, other in zip(values, others, strict=False) if other]


class Results:
    """Figures, and what belongs to them: machine, versions, what is missing and what failed."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self.failed: list[str] = []
        self._values: dict[Key, dict[str, list[float]]] = defaultdict(dict)

    def add(self, key: Key, **figures: float) -> None:
        """Of one run."""
        for name, value in figures.items():
            self._values[key].setdefault(name, []).append(value)

    def values(self, key: Key, figure: str) -> Sequence[float]:
        """Empty if it was not measured."""
        return self._values.get(key, {}).get(figure, [])

    def median(self, key: Key, figure: str) -> float | None:
        values = self.values(key, figure)
        return statistics.median(values) if values else None

    def ratio(self, key: Key, to: str, figure: str) -> Sequence[float]:
        """Of a target to another one under the same load, run by run."""
        return ratios(self.values(key, figure), self.values(key._replace(target=to), figure))

    def targets(self, stage: str) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(key.target for key in self._values if key.stage == stage))

    def loads(self, stage: str) -> list[str]:
        return list(dict.fromkeys(key.load for key in self._values if key.stage == stage))

    def to_json(self) -> str:
        figures = [{**key._asdict(), **found} for key, found in self._values.items()]
        content = {"about": self.about, "missing": self.missing, "failed": self.failed, "figures": figures}
        return json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        content: Mapping[str, Any] = json.loads(text)
        results = cls()
        results.about, results.missing = dict(content["about"]), dict(content["missing"])
        results.failed = list(content["failed"])
        for found in content["figures"]:
            key = Key(*(str(found[name]) for name in Key._fields))
            results._values[key] = {name: values for name, values in found.items() if name not in Key._fields}
        return results

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.from_json(path.read_text())
