"""Why a call got `model_not_found`, for admins. Callers read one sentence for a name that nothing has and for a model
that their key may not use, so that no key finds out which models there are."""

from typing import Final, Literal, get_args

# As gateway/storage/missing_models.py finds them, and as they are stored with a refused call. Of a subscription: its
# status.
Cause = Literal[
    "unknown", "renamed", "unlisted", "disabled", "hidden", "not_subscribed", "pending", "denied", "cancelled",
    "expired", "suspended", "not_on_key",
]  # fmt: skip
CAUSES: Final = get_args(Cause)
_SAYS: Final[dict[Cause, str]] = {
    "unknown": "There is no model of this name, and there was none.",
    "renamed": "The model is called '{renamed_to}' now.",
    "unlisted": "LiteLLM no longer has the model.",
    "disabled": "The model is disabled by an admin.",
    "hidden": "The account has no subscription to the model, which is hidden: only an admin can subscribe it.",
    "not_subscribed": "The account has no subscription to the model.",
    "pending": "The account's subscription to the model waits for an admin's approval.",
    "not_on_key": "The account is subscribed to the model, but it is not one of the key's models.",
}


def say(cause: Cause, *, renamed_to: str | None) -> str:
    """One sentence for an admin. `renamed_to`: the model's name of today."""
    if cause == "renamed" and renamed_to is None:
        return "The model has another name now."
    usual = f"The account's subscription to the model is {cause}."
    return _SAYS.get(cause, usual).format(renamed_to=renamed_to)
