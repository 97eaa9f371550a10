"""What identity providers report about one person in the group `litemaas-admins`, each as its documentation says, with
the settings of docs/logins.md."""

from dataclasses import dataclass, field
from typing import Any, Final

EMAIL: Final = "ann@example.org"
GROUP: Final = "litemaas-admins"
GROUP_ID: Final = "0760b6cf-170e-4a14-91b3-4b78e0739963"


@dataclass(frozen=True, slots=True)
class ReportedClaims:
    """`claims` of the ID token (None: not in it) and `more` of the user endpoint; settings without LITEMAAS_OIDC_, and
    the name of the group in GROUP_ROLES."""

    provider: str
    claims: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    group: str = GROUP


TABLE: Final = [
    # Group Membership mapper with "Full group path" on, which is its default.
    ReportedClaims(
        "Keycloak, groups",
        {"preferred_username": "ann", "groups": [f"/{GROUP}", "/staff"]},
        group=f"/{GROUP}",
    ),
    # Predefined mapper "realm roles", added to the ID token or user info.
    ReportedClaims(
        "Keycloak, realm roles",
        {"realm_access": {"roles": ["offline_access", GROUP]}},
        settings={"groups_claim": "realm_access.roles"},
    ),
    ReportedClaims(
        "Keycloak, client roles",
        {"resource_access": {"litemaas": {"roles": [GROUP]}, "account": {"roles": ["view-profile"]}}},
        settings={"groups_claim": "resource_access.litemaas.roles"},
    ),
    # No email_verified; groups are object ids; `email` only where the user has a mailbox.
    ReportedClaims(
        "Entra, one tenant",
        {"email": None, "email_verified": None, "preferred_username": EMAIL, "groups": [GROUP_ID], "ver": "2.0"},
        settings={"email_claim": "email,preferred_username", "trust_emails": "true", "missing_groups": "none"},
        group=GROUP_ID,
    ),
    ReportedClaims(
        "Entra, upn of v1.0",
        {"email": None, "email_verified": None, "upn": EMAIL, "groups": [GROUP_ID], "ver": "1.0"},
        settings={"email_claim": "email,upn", "trust_emails": "true", "missing_groups": "none"},
        group=GROUP_ID,
    ),
    ReportedClaims(
        "Entra, xms_edov and app roles",
        {"email_verified": None, "xms_edov": "1", "roles": [GROUP]},
        settings={"verified_claim": "xms_edov", "groups_claim": "roles", "missing_groups": "none"},
    ),
    # A thin ID token, as an access token comes with it: the rest is at the user endpoint.
    ReportedClaims(
        "Okta",
        {"email": None, "email_verified": None, "preferred_username": EMAIL},
        {"email": EMAIL, "email_verified": True, "groups": ["Everyone", GROUP]},
        settings={"scopes": "openid profile email groups", "missing_groups": "none"},
    ),
    ReportedClaims(
        "Cognito",
        {"cognito:username": "ann", "cognito:groups": [GROUP], "token_use": "id"},
        settings={"groups_claim": "cognito:groups", "missing_groups": "none"},
    ),
    # The user endpoint writes truth as text.
    ReportedClaims(
        "Cognito, user endpoint",
        {"email": None, "email_verified": None, "cognito:groups": [GROUP]},
        {"email": EMAIL, "email_verified": "true", "username": "ann"},
        settings={"groups_claim": "cognito:groups", "missing_groups": "none"},
    ),
    # Addresses that came by SAML are not verified; a list of SAML's is a string.
    ReportedClaims(
        "Cognito, SAML",
        {"email_verified": False, "custom:groups": f"[staff, {GROUP}]"},
        settings={"groups_claim": "custom:groups", "trust_emails": "true"},
    ),
    # A claim of an Action, with a namespace.
    ReportedClaims(
        "Auth0",
        {"nickname": "ann", "https://litemaas.example.org/roles": [GROUP]},
        settings={"groups_claim": "https://litemaas.example.org/roles"},
    ),
    ReportedClaims(
        "Dex",
        {"preferred_username": "ann", "groups": [f"org:{GROUP}"]},
        settings={"scopes": "openid profile email groups", "missing_groups": "none"},
        group=f"org:{GROUP}",
    ),
]
# Other forms of the same claims, at no provider in particular.
FORMS: Final[dict[str, dict[str, Any]]] = {
    "one string": {"groups": GROUP},
    "JSON in a string": {"groups": f'["staff", "{GROUP}"]'},
    "commas in a string": {"groups": f"staff, {GROUP}"},
    "verified as text": {"groups": [GROUP], "email_verified": "True"},
    "verified as a number": {"groups": [GROUP], "email_verified": 1},
}
