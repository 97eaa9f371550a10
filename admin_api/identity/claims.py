"""What verified claims say about a person: the one reader for ID tokens, the provider's user endpoint and JWTs.

Providers differ from OpenID Connect Core in how they write them; docs/logins.md has a table of what each does.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.people.logins import Person, UnknownGroups
from admin_api.operations.people.refused_logins import Door

if TYPE_CHECKING:
    from admin_api.settings import Settings

# datetime has no year after 9999.
MAX_SECONDS: Final = 253_000_000_000
# Claims about the address in `email` and in no other.
ABOUT_EMAIL: Final = ("email_verified", "xms_edov")
# OpenID Connect Core 5.6.2: members name claims that are not in the token.
CLAIMS_ELSEWHERE: Final = "_claim_names"


def read_person(claims: Mapping[str, Any], settings: "Settings", door: Door = "oidc") -> Person:
    """The person of verified claims: of an ID token with the user endpoint's answer, or of a JWT of the same issuer."""
    email_claim = next(
        (name for name in settings.oidc_email_claim if is_address(find_claim(claims, name))),
        settings.oidc_email_claim[0],
    )
    email = find_claim(claims, email_claim)
    groups, unknown = _read_groups(claims, settings)
    name = find_claim(claims, "name")
    return Person(
        issuer=str(settings.oidc_issuer),
        subject=str(claims["sub"]),
        email=email if is_address(email) else None,
        is_email_verified=_is_verified(claims, email_claim, settings),
        name=name if isinstance(name, str) else "",
        groups=groups,
        unknown_groups=unknown,
        issued_at=_moment(claims.get("iat")),
        email_claim=email_claim,
        verified_claim=settings.oidc_verified_claim,
        groups_claim=settings.oidc_groups_claim,
        door=door,
        address_claims=[name for name, value in claims.items() if is_address(value) and name.isprintable()][:5],
    )


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, which may have dots itself (`https://example.com/roles`), or else the member of an
    object (`realm_access.roles`). None: missing or null."""
    if path in claims:
        return claims[path]
    for at, char in enumerate(path):
        inner = claims.get(path[:at]) if char == "." else None
        if isinstance(inner, Mapping) and (found := find_claim(inner, path[at + 1 :])) is not None:
            return found
    return None


def is_address(value: Any) -> bool:
    """Whether this may be an e-mail address; it is checked when it is used."""
    return isinstance(value, str) and 0 < value.find("@") < len(value) - 1


def merge_claims(signed: Mapping[str, Any], more: Mapping[str, Any], settings: "Settings") -> dict[str, Any]:
    """An ID token's claims, and those that only the user endpoint reported. What that says about the verification of
    an address counts only for the same address."""
    added = dict(more)
    if any(find_claim(signed, name) not in (None, find_claim(more, name)) for name in settings.oidc_email_claim):
        added.pop(settings.oidc_verified_claim, None)
    return {**added, **signed}


def is_complete(claims: Mapping[str, Any], settings: "Settings") -> bool:
    """Whether the user endpoint need not be asked."""
    has_address = any(is_address(find_claim(claims, name)) for name in settings.oidc_email_claim)
    is_decided = settings.oidc_trust_emails or find_claim(claims, settings.oidc_verified_claim) is not None
    has_groups = find_claim(claims, settings.oidc_groups_claim) is not None
    return has_address and is_decided and (has_groups or _are_elsewhere(claims, settings.oidc_groups_claim))


def _is_verified(claims: Mapping[str, Any], email_claim: str, settings: "Settings") -> bool:
    if settings.oidc_trust_emails:
        return True
    about = "email" if settings.oidc_verified_claim in ABOUT_EMAIL else settings.oidc_email_claim[0]
    return email_claim == about and _is_true(find_claim(claims, settings.oidc_verified_claim))


def _is_true(value: Any) -> bool:
    """Some providers write truth as text (Cognito's user endpoint) or as a number (Entra's `xms_edov`)."""
    return value is True or (isinstance(value, str | int) and str(value).strip().lower() in ("true", "1"))


def _read_groups(claims: Mapping[str, Any], settings: "Settings") -> tuple[list[str] | None, UnknownGroups | None]:
    """The groups, or why they are unknown."""
    if _are_elsewhere(claims, settings.oidc_groups_claim):
        return None, "elsewhere"
    value = find_claim(claims, settings.oidc_groups_claim)
    if value is None:
        return ([], None) if settings.oidc_missing_groups == "none" else (None, "missing")
    if isinstance(value, str):
        value = _split(value)
    if not isinstance(value, list) or not all(isinstance(one, str) or type(one) is int for one in value):
        return None, "unreadable"
    return [str(one) for one in value], None


def _are_elsewhere(claims: Mapping[str, Any], name: str) -> bool:
    """Whether the provider says that there are groups, and not which: Entra does above 200 groups by `_claim_names`,
    in tokens of the implicit flow by `hasgroups` or `groups:src1`."""
    elsewhere = claims.get(CLAIMS_ELSEWHERE)
    first = name.partition(".")[0]
    if isinstance(elsewhere, Mapping) and (name in elsewhere or first in elsewhere):
        return True
    return (name == "groups" and _is_true(claims.get("hasgroups"))) or any(
        key.startswith(f"{name}:src") for key in claims
    )


def _split(text: str) -> Any:
    """One group, or a list in a string: JSON, `[a, b]` as Cognito writes what came by SAML, or with commas. No group
    of GROUP_ROLES has a comma in its name."""
    text = text.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            text = text.removeprefix("[").removesuffix("]")
    return [part.strip() for part in text.split(",") if part.strip()]


def _moment(seconds: Any) -> datetime | None:
    """The time of a claim that is not in the future; None for a value that is not a time."""
    is_time = isinstance(seconds, int | float) and 0 <= seconds <= MAX_SECONDS
    return datetime.fromtimestamp(seconds, UTC) if is_time else None
