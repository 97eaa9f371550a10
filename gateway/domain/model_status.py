"""Whether a model is there to be called: one word for the gateway, keys, subscriptions and the catalogue."""

from typing import Final, Literal

from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import Status

# `unlisted`: LiteLLM no longer has it. `disabled`: by an admin.
ModelStatus = Literal["available", "disabled", "unlisted"]
WithheldStatus = ModelStatus | Status
SAYS: Final[dict[ModelStatus, str]] = {
    "available": "is available",
    "disabled": "is disabled by an admin",
    "unlisted": "is unlisted: LiteLLM no longer has it",
}


def model_status(*, enabled: bool, listed: bool) -> ModelStatus:
    """What LiteLLM no longer has is unlisted, whatever a person decided about it."""
    if not listed:
        return "unlisted"
    return "available" if enabled else "disabled"


def check_offered(name: str, status: ModelStatus, *, param: str = "model") -> None:
    """For a subscription, or a key, that would not let anybody call the model. Raises GatewayError `conflict`."""
    if status != "available":
        message = f"The model '{name}' {SAYS[status]}."
        raise GatewayError("conflict", message, param=param, details={"model": name, "status": status})
