"""How the states of models are named."""

from collections.abc import Mapping
from typing import Final

from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.models import Model
from admin_api.storage.offered_models import ModelState

STATES: Final[Mapping[ModelState, str]] = {
    "open": marked("open to all"),
    "restricted": marked("restricted"),
    "hidden": marked("hidden"),
    "disabled": marked("disabled"),
    "unlisted": marked("gone from LiteLLM"),
    "unpriced": marked("without a price"),
}


def labels_of(visit: Visit, model: Model) -> list[tuple[str, str | None]]:
    """What marks a model for admins: texts and colours of labels."""
    _ = visit.messages.gettext
    found: list[tuple[str, str | None]] = []
    if not model.listed:
        found.append((_(STATES["unlisted"]), "red"))
    if not model.enabled:
        found.append((_(STATES["disabled"]), "red"))
    if model.hidden:
        found.append((_(STATES["hidden"]), "purple"))
    if model.restricted:
        found.append((_(STATES["restricted"]), "orange"))
    return found or [(_(STATES["open"]), "green")]
