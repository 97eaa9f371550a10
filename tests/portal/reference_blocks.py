"""PatternFly's own markup, and how it is compared with ours: elements, classes, roles and states, not ids and texts."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from lxml import etree, html

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ROOT / "admin_api" / "portal" / "assets"
DOCS: Final = PACKAGES / "node_modules" / "@patternfly" / "patternfly" / "docs"
HEADING: Final = re.compile(r"#+ (.+)")
# Attributes whose values are ids or texts: that they are there counts. `style` cannot be on our pages.
NAMES_ONLY: Final = (
    "aria-label", "aria-labelledby", "aria-describedby", "aria-controls", "aria-valuenow", "aria-valuetext",
    "data-label",
)  # fmt: skip
WITH_VALUE: Final = (
    "role", "type", "hidden", "required", "checked", "disabled", "scope", "tabindex", "aria-hidden", "aria-live",
    "aria-current", "aria-invalid", "aria-sort", "aria-selected", "aria-expanded", "aria-modal", "aria-disabled",
    "aria-valuemin", "aria-valuemax",
)  # fmt: skip
IS_SET: Final = ("hidden", "required", "checked", "disabled")
IGNORED_TAGS: Final = ("br", "path", "circle")


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where ours differs on purpose. `path` (XPath) finds elements of an example, or of its reference block if it is
    `of_theirs`; what is done with them makes both equal: `tag` renames, `is_removed` takes out with all within,
    `is_unwrapped` leaves only what is within, `without` takes classes and attributes away."""

    examples: str
    path: str
    reason: str
    of_theirs: bool = False
    tag: str | None = None
    is_removed: bool = False
    is_unwrapped: bool = False
    without: tuple[str, ...] = ()

    def change(self, tree: Any) -> bool:
        """Whether it found something."""
        found = [one for one in tree.xpath(self.path) if one is not tree]
        for one in found:
            self._change_one(one)
        return bool(found)

    def _change_one(self, element: Any) -> None:
        if self.is_removed:
            element.drop_tree()
            return
        if self.is_unwrapped:
            element.drop_tag()
            return
        if self.tag:
            element.tag = self.tag
        for name in self.without:
            element.attrib.pop(name, None)
        kept = [name for name in element.get("class", "").split() if name not in self.without]
        element.set("class", " ".join(kept))


@dataclass(frozen=True, slots=True)
class Shape:
    """An element as it is compared."""

    tag: str
    classes: frozenset[str]
    attributes: frozenset[tuple[str, str]]
    parts: "tuple[Shape, ...]"


@cache
def blocks(page: str) -> Mapping[str, str]:
    """By heading, of a folder below docs/, by default of docs/components. The documentation is in the npm package."""
    if not DOCS.exists():
        _install_packages()
    folder = DOCS / (page if "/" in page else f"components/{page}") / "examples"
    return {heading: block for path in sorted(folder.glob("*.md")) for heading, block in _blocks_of(path.read_text())}


def _install_packages() -> None:
    spec = importlib.util.spec_from_file_location("build_portal", ROOT / "deploy" / "build_portal.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install_packages()


def _blocks_of(text: str) -> Iterator[tuple[str, str]]:
    heading, lines = "", None
    for line in text.splitlines():
        if lines is None:
            if (found := HEADING.fullmatch(line)) is not None:
                heading = found[1]
            elif line.startswith("```html"):
                lines = []
        elif line.startswith("```"):
            yield heading, "\n".join(lines)
            lines = None
        else:
            lines.append(line)


def parse(markup: str) -> Any:
    """A tree around all of it."""
    return html.fragment_fromstring(markup, create_parent="div")


def shape_of(element: Any) -> Shape:
    """Items that are alike count once, so that lists of any length are equal."""
    parts: list[Shape] = []
    for child in element.iterchildren(tag=etree.Element):
        if child.tag in IGNORED_TAGS:
            continue
        shape = shape_of(child)
        if not parts or parts[-1] != shape:
            parts.append(shape)
    tag, classes = element.tag, frozenset(name for name in element.get("class", "").split() if name.startswith("pf-"))
    if tag == "i" or (tag == "svg" and classes <= {"pf-v6-svg"}):
        return Shape("icon", frozenset(), frozenset(), ())
    return Shape(tag, classes, frozenset(_attributes(element)), tuple(parts))


def _attributes(element: Any) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name in NAMES_ONLY:
            yield name, ""
        elif name in WITH_VALUE:
            yield name, "" if name in IS_SET else value


def all_shapes(markup: Any) -> set[Shape]:
    """Of every element of the tree."""
    return {shape_of(element) for element in markup.iterdescendants(tag=etree.Element)}


def outline(shape: Shape, depth: int = 0) -> str:
    """For the message of a failure."""
    attributes = " ".join(f"{name}={value}" for name, value in sorted(shape.attributes))
    line = f"{'  ' * depth}{shape.tag}.{'.'.join(sorted(shape.classes))} {attributes}"
    return "\n".join([line, *(outline(part, depth + 1) for part in shape.parts)])
