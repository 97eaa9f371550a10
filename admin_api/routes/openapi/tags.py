"""What the tags of the OpenAPI document are about, each with its page of documentation."""

from typing import Any, Final

# tag -> (text, page of docs/)
TAGS: Final = {
    "login": ("Logins of browsers at an identity provider, and your sessions.", "logins"),
    "users": ("People: their roles, identities and sessions; and yourself.", "admin"),
    "personal access tokens": ("Logins of programs, which do what their user may.", "logins"),
    "teams": ("Teams, their members, and invitations to them.", "admin"),
    "models": ("The models that LiteLLM has, and who may use them.", "admin"),
    "prices": ("What calls of a model cost, in versions.", "prices"),
    "subscriptions": ("Which account may use which model: requested, approved, suspended, cancelled.", "admin"),
    "keys": ("API keys, with which applications call models.", "admin"),
    "limits": ("Rates and budgets of keys, subscriptions, users and teams.", "limits"),
    "settings": ("Settings that are changed while everything runs.", "admin"),
    "provider keys": ("Keys of model providers, stored encrypted, that LiteLLM uses.", "secrets"),
    "usage": ("What was called and what it cost: single calls, sums, files.", "usage"),
    "ledger": ("Checks of the ledger, and calls that are priced again.", "ledger"),
    "alerts": ("Limits that are nearly reached, and the messages sent about them.", "alerts"),
    "webhooks": ("Addresses that get messages about alerts and subscriptions.", "alerts"),
    "audit": ("Every change: who, what, when, why.", "audit"),
    "system": ("What waits, what is used now, and whether all parts answer.", "admin"),
    "health": ("For orchestrators and load balancers; without login.", "admin"),
}


def tag_objects() -> list[dict[str, Any]]:
    """The document's `tags`."""
    return [
        {"name": name, "description": f"{text} [Documentation](/docs/{page}.md)"} for name, (text, page) in TAGS.items()
    ]
