"""Virtual environments beside the one that runs, of the same Python: what cannot be installed into it."""

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
USUAL: Final = ".venv"


def beside(name: str) -> Path:
    """`.venv-litellm` beside `.venv`, `.venv-3.13-litellm` beside `.venv-3.13` (`make test-python`): none is made for
    one Python and used by another."""
    running = Path(sys.prefix)
    is_ours = running.parent == ROOT and running.name.startswith(f"{USUAL}-")
    return ROOT / f"{running.name if is_ours else USUAL}-{name}"
