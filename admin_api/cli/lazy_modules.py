"""Modules that are loaded when a name of theirs is first read: most of the time of a command goes into imports.

`import asyncpg` then costs nothing until `asyncpg.connect` is read. That holds for `import module` only: `from module
import name` reads a name at once. The standard library's LazyLoader loads a module when it is imported a second time.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

# What commands need and their help does not. Pydantic needs importlib.metadata for plugins only.
LAZY: Final = frozenset(
    ("admin_api.settings", "asyncio", "asyncpg", "httpx2", "idna", "importlib.metadata", "gateway.storage.postgres")
)
OPERATIONS: Final = "admin_api.operations."


def load_when_used(then: Mapping[str, Callable[[], None]]) -> None:
    """From now on, for modules that are not loaded yet; also for those in `then`, with what is done once they are."""
    sys.meta_path.insert(0, _Finder(then))


class _Finder:
    def __init__(self, then: Mapping[str, Callable[[], None]]) -> None:
        self.then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_lazy = name in LAZY or name in self.then or name.startswith(OPERATIONS)
        spec = PathFinder.find_spec(name, path, target) if is_lazy else None
        if spec is not None and spec.loader is not None:
            spec.loader = _LazyLoader(spec.loader, self.then.get(name))
        return spec


class _LazyLoader(Loader):
    def __init__(self, loader: Loader, then: Callable[[], None] | None) -> None:
        self.loader, self.then = loader, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet: the import system has only given it its name and place."""
        module.__class__ = _Unloaded


class _Unloaded(ModuleType):
    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        # From here on an ordinary module.
        self.__class__ = ModuleType  # type: ignore[assignment]
        if spec is not None and isinstance(spec.loader, _LazyLoader):
            then, spec.loader = spec.loader.then, spec.loader.loader
            self.__loader__ = spec.loader
            spec.loader.exec_module(self)
            if then is not None:
                then()
        return getattr(self, name)
