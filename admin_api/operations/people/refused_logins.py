"""Logins that are refused: the error, which names the claim and the setting at fault, and its audit row."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from admin_api.operations.actors import Actor, note
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# Where the login came in.
Door = Literal["oidc", "openshift", "jwt"]
# A label of a metric, and what the log and the audit row call it.
Cause = Literal[
    "answer_invalid",
    "deactivated",
    "email_missing",
    "email_not_valid",
    "email_unverified",
    "linked_to_another",
    "provider_refused",
    "provider_unavailable",
    "state_unknown",
    "subject_not_valid",
    "token_not_valid",
    "unlinked",
    "other",
]
BY_CODE: Final[Mapping[str, Cause]] = {
    "not_authenticated": "token_not_valid",
    "upstream_unavailable": "provider_unavailable",
}


class LoginRefused(GatewayError):
    """`about` says who it was at the provider: `issuer`, `subject`, and `email` if one was reported."""

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        code: str = "forbidden",
        claim: str | None = None,
        setting: str | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        named = {"claim": claim, "setting": setting}
        details = {"cause": cause} | {name: value for name, value in named.items() if value is not None}
        super().__init__(code, message, details=details)
        self.cause = cause
        self.about = dict(about or {})


def cause_of(error: GatewayError) -> Cause:
    """The cause of any error of a login."""
    if isinstance(error, LoginRefused):
        return error.cause
    return BY_CODE.get(error.code, "other")


async def audit_refusal(
    pool: "Pool", error: GatewayError, door: Door, *, request_id: UUID | None, ip: str | None
) -> None:
    """In a transaction of its own, for that of the login was rolled back."""
    about = error.about if isinstance(error, LoginRefused) else {}
    new = {"cause": cause_of(error), "message": error.message} | error.details | about
    actor = Actor(name=f"login:{door}", role="program", via="login", request_id=request_id, ip=ip)
    async with pool.acquire() as connection, connection.transaction():
        await note(connection, actor, "login.refuse", "login", door, new=new)
