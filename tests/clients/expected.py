"""Cells of the matrix that do not work yet, each by the case that will mend it. One that begins to work fails."""

from typing import Final

from clients.catalogue import BY_NAME
from clients.tasks import TASKS

AZURE: Final = BY_NAME["azure-openai"]
EXPECTED_TO_FAIL: Final[dict[tuple[str, str], str]] = {
    ("anthropic-python", "models"): "D10",
    ("anthropic-node", "models"): "D10",
    **{(AZURE.name, task): "D13" for task in TASKS if AZURE.does(task)},
    **{("cohere-rerank_v2", task): "D18" for task in ("rerank", "refused_by_limit", "unknown_model")},
    ("openai-python-responses", "count"): "D18",
    ("openai-node-responses", "count"): "D18",
}
