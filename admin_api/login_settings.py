"""Settings of logins: identity providers, roles of groups, sessions."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, SecretStr, field_validator, model_validator

from gateway.domain.email_addresses import normalize_address
from gateway.domain.roles import ROLES, Role
from gateway.web.addresses import parse_networks
from gateway.web.cors import origin_of, parse_origins
from gateway.web.env_settings import EnvSettings

ADDRESS: Final = "an https:// address, or http:// on this machine"


class SessionSettings(EnvSettings):
    """How long a browser stays logged in."""

    session_idle_s: PositiveFloat = Field(default=8 * 3600.0, description="a session ends after this time without use")
    session_lifetime_s: PositiveFloat = Field(default=24 * 3600.0, description="and after this time in any case")
    session_key_s: PositiveFloat = Field(
        default=3600.0, description="the key of a session's playground ends after this time without use, or with it"
    )


class LoginSettings(SessionSettings):
    """A part of the admin API's settings."""

    admin_url: str | None = Field(default=None, description="public address of the admin API, as browsers call it")
    oidc_issuer: str | None = Field(default=None, description="issuer of an OpenID Connect provider")
    oidc_client_id: str | None = Field(default=None, description="client id of LiteMaaS there")
    oidc_client_secret: SecretStr | None = Field(default=None, description="client secret of LiteMaaS there")
    oidc_scopes: str = Field(default="openid profile email", description="requested scopes, separated by blanks")
    oidc_email_claim: tuple[str, ...] = Field(
        default=("email",),
        min_length=1,
        description="claims with a person's e-mail address, separated by commas; the first that has one counts",
    )
    oidc_verified_claim: str = Field(
        default="email_verified", description="claim that says whether the e-mail address is verified"
    )
    oidc_trust_emails: bool = Field(
        default=False, description="treat all e-mail addresses of the provider as verified, whatever it says"
    )
    oidc_groups_claim: str = Field(
        default="groups", description="claim that lists a person's groups; dots lead into objects: realm_access.roles"
    )
    oidc_missing_groups: Literal["unknown", "none"] = Field(
        default="unknown",
        description="what a login without that claim says about groups: unknown (the last role stays) or none",
    )
    openshift_url: str | None = Field(default=None, description="OpenShift's OAuth server; names its users' identities")
    openshift_api_url: str | None = Field(default=None, description="OpenShift's API, which identifies users")
    openshift_client_id: str | None = Field(default=None, description="name of the OAuthClient there")
    openshift_client_secret: SecretStr | None = Field(default=None, description="client secret of LiteMaaS there")
    openshift_email_domain: str = Field(
        default="openshift.invalid",
        description="domain of the e-mail address of OpenShift users whose name is not an address",
    )
    login_ca_file: Path | None = Field(default=None, description="CA of the identity providers' certificates")
    jwt_audience: str | None = Field(
        default=None, description="audience of JWTs of OIDC_ISSUER that are accepted as bearer tokens; none: no JWTs"
    )
    group_roles: dict[str, Role] = Field(
        default={}, description="group:role, separated by commas; a role ends at the first login without the group"
    )
    initial_admins: tuple[str, ...] = Field(
        default=(), description="e-mail addresses, separated by commas, of people who become admins when they log in"
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, separated by commas, of proxies whose X-Forwarded-For is trusted",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="origins, separated by commas, whose pages may call the admin API with a login"
    )
    admin_calls_per_minute: int = Field(
        default=600, ge=0, description="maximum calls of one user or address a minute to the admin API; 0: no limit"
    )

    @field_validator("admin_url", "oidc_issuer", "openshift_url", "openshift_api_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError(ADDRESS)
        if not parts.hostname or parts.port == 0:
            raise ValueError(ADDRESS)
        return value.rstrip("/")

    @field_validator("group_roles", mode="before")
    @classmethod
    def _split_group_roles(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # The name of a group may have a colon, a role does not.
        pairs = [part.strip().rpartition(":") for part in value.split(",") if part.strip()]
        if not all(group and role in ROLES for group, _, role in pairs):
            raise ValueError(f"group:role, commas between; roles are {', '.join(ROLES)}")
        return {group: role for group, _, role in pairs}

    @field_validator("initial_admins", "oidc_email_claim", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("initial_admins")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(normalize_address(address) for address in value)

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        # Pages call it with the session's cookie, so there is no *.
        return parse_origins(value) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value

    @model_validator(mode="after")
    def _check_providers(self) -> Self:
        needs = {
            "oidc_issuer": ("oidc_client_id", "admin_url"),
            "openshift_url": ("openshift_api_url", "openshift_client_id", "openshift_client_secret", "admin_url"),
            "jwt_audience": ("oidc_issuer",),
        }
        for setting, others in needs.items():
            missing = [f"LITEMAAS_{other.upper()}" for other in others if getattr(self, other) is None]
            if getattr(self, setting) is not None and missing:
                raise ValueError(f"LITEMAAS_{setting.upper()} needs {', '.join(missing)} too")
        return self

    @property
    def issuer_names(self) -> tuple[str, ...]:
        """Valid issuers of tokens: with some providers the name ends with a /, with others it does not."""
        return () if self.oidc_issuer is None else (self.oidc_issuer, f"{self.oidc_issuer}/")

    @property
    def own_origin(self) -> str | None:
        """The origin of ADMIN_URL, as browsers write it: lower case, no default port, no path."""
        if self.admin_url is None:
            return None
        return origin_of(urlsplit(self.admin_url))

    @property
    def is_secure(self) -> bool:
        """Whether cookies are for https only: always, except with ADMIN_URL on this machine."""
        return not (self.admin_url or "").startswith("http://")


def is_loopback(host: str | None) -> bool:
    """Whether the host of a URL is this machine."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
