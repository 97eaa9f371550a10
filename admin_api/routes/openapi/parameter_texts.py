"""What the parameters of paths and queries mean, for the OpenAPI document, and an example of each in a path.

A description that a parameter gives itself stands over its text here.
"""

from collections.abc import Mapping
from typing import Any, Final

PARAMETERS: Final[Mapping[str, str]] = {
    "session_id": "Id of the session",
    "token_id": "Id of the token",
    "invitation_id": "Id of the invitation",
    "identity_id": "Id of the identity",
    "subscription_id": "Id of the subscription",
    "key_id": "Id of the key",
    "limit_id": "Id of the limit",
    "limit_request_id": "Id of the request for more of a limit",
    "join_request_id": "Id of the request to join a team",
    "answer": "What to do with it",
    "alert_id": "Id of the alert",
    "webhook_id": "Id of the webhook",
    "delivery_id": "Id of the delivery",
    "move": "What to do; docs/admin.md says which state allows what",
    "decision": "What to do with each",
    "by": "What the calls are grouped by",
    "provider": "Only of this provider",
    "role": "Only with this role",
    "status": "Only in this state",
    "level": "Only of this level",
    "model": "Name of the model",
    "format": "Format of the file",
    "target_kind": "Only changes of things of this kind, such as user, key or limit",
    "target_id": "Only changes of the thing with this id, or name where it has no other id",
    "code": "From the identity provider: what the login is finished with",
    "state": "From the identity provider: the state that the login was begun with",
    "error": "From the identity provider: why it let nobody in",
}
# Of operations where the name means something else.
OF_OPERATION: Final[Mapping[tuple[str, str], str]] = {
    ("log_in", "provider"): "Where to log in; the default is the first of /api/auth/providers",
}
# The things of the examples of bodies.
PATH_EXAMPLES: Final[Mapping[str, Any]] = {
    "user": "ana@example.org",
    "team": "red",
    "name": "small",
    "provider_key": "OPENAI",
    "move": "suspend",
    "decision": "approve",
    "answer": "accept",
    "by": "team",
    "request_id": "01a2056b-8c11-7000-8000-0123456789ab",
}


def parameter_text(operation: str, name: str) -> str | None:
    """The text for a parameter; None: there is none yet."""
    return OF_OPERATION.get((operation, name)) or PARAMETERS.get(name)


def path_example(name: str) -> Any:
    """Ids are numbers."""
    return PATH_EXAMPLES.get(name, 1)
