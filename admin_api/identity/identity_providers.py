"""Logins at OpenID Connect providers and at OpenShift, by Authlib: the redirect, and the person who returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError

from admin_api.identity.claims import is_complete, merge_claims, read_person
from admin_api.identity.openshift import find_metadata
from admin_api.operations.people.logins import Person
from admin_api.operations.people.refused_logins import LoginRefused
from admin_api.storage.sessions import Provider
from admin_api.tls import trusted_by_default
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.settings import Settings

# Only the provider can make these signatures: neither `none` nor one with a shared secret.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
TIMEOUT_S: Final = 10.0
OPENSHIFT_USER: Final = "/apis/user.openshift.io/v1/users/~"


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the browser is sent, and the state that is needed when it returns."""

    url: str
    state: dict[str, str]


class IdentityProviders:
    """The providers that are set up. Their metadata is read at the first login and cached."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        oauth = OAuth()
        verify = trusted_by_default(settings.login_ca_file)
        self._http: dict[str, Any] = {"timeout": TIMEOUT_S, "verify": verify, "code_challenge_method": "S256"}
        self._clients: dict[Provider, StarletteOAuth2App] = {}
        if settings.oidc_issuer is not None:
            self._clients["oidc"] = oauth.register(
                "oidc",
                client_id=settings.oidc_client_id,
                client_secret=_text(settings.oidc_client_secret),
                server_metadata_url=f"{settings.oidc_issuer}/.well-known/openid-configuration",
                client_kwargs=self._http | {"scope": settings.oidc_scopes},
            )
        if settings.openshift_url is not None:
            self._clients["openshift"] = oauth.register(
                "openshift",
                client_id=settings.openshift_client_id,
                client_secret=_text(settings.openshift_client_secret),
                client_kwargs=self._http | {"scope": "user:info"},
            )

    @property
    def names(self) -> tuple[Provider, ...]:
        """Names of the providers that are set up."""
        return tuple(self._clients)

    @property
    def _callback(self) -> str:
        return f"{self._settings.admin_url}/api/auth/callback"

    def _client(self, provider: Provider | None) -> tuple[Provider, StarletteOAuth2App]:
        name = provider or next(iter(self._clients), None)
        if name is None or name not in self._clients:
            raise GatewayError("not_found", "No such identity provider is set up: see LITEMAAS_OIDC_ISSUER.")
        return name, self._clients[name]

    async def depart(self, provider: Provider | None) -> Departure:
        """Begins a login at the provider (default: the first), with PKCE and, for OIDC, a nonce."""
        name, client = self._client(provider)
        async with _explained():
            await self._discover(name, client)
            made = await client.create_authorization_url(self._callback)
        kept = {key: made[key] for key in ("state", "nonce", "code_verifier") if key in made}
        return Departure(made["url"], kept | {"provider": name})

    async def arrive(self, state: Mapping[str, str], code: str) -> tuple[Provider, Person]:
        """The person who returned. Raises GatewayError `login_failed`, or `upstream_unavailable` if the provider does
        not answer."""
        name, client = self._client("openshift" if state["provider"] == "openshift" else "oidc")
        async with _explained():
            await self._discover(name, client)
            token = await client.fetch_access_token(
                redirect_uri=self._callback, code=code, code_verifier=state["code_verifier"]
            )
            if name == "openshift":
                return name, await self._ask_openshift(client, token)
            return name, await self._read_id_token(client, token, state["nonce"])

    async def logout_url(self, provider: Provider | None) -> str | None:
        """Where to end the session at the provider too; None if it has no such URL, as OpenShift."""
        client = self._clients.get("oidc")
        if provider != "oidc" or client is None:
            return None
        try:
            metadata = await client.load_server_metadata()
        except (httpx2.HTTPError, ValueError, TypeError):
            # The provider is away or its answer is not valid; the session has ended here in any case.
            return None
        if "end_session_endpoint" not in metadata:
            return None
        made: str = (await client.create_logout_url(client_id=self._settings.oidc_client_id))["url"]
        return made

    async def _discover(self, name: Provider, client: StarletteOAuth2App) -> None:
        """Authlib finds the metadata of OpenID Connect itself."""
        if name == "openshift" and not client.server_metadata.get("token_endpoint"):
            settings = self._settings
            places = {
                "LITEMAAS_OPENSHIFT_URL": str(settings.openshift_url),
                "LITEMAAS_OPENSHIFT_API_URL": str(settings.openshift_api_url),
            }
            http = {"timeout": self._http["timeout"], "verify": self._http["verify"]}
            client.server_metadata.update(await find_metadata(places, http))

    async def _read_id_token(self, client: StarletteOAuth2App, token: Any, nonce: str) -> Person:
        metadata = await client.load_server_metadata()
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [one for one in offered if one in ALGORITHMS]
        expected = {
            "iss": {"essential": True, "values": list(self._settings.issuer_names)},
            "aud": {"essential": True, "values": [self._settings.oidc_client_id]},
        }
        claims = await client.parse_id_token(token, nonce=nonce, claims_options=expected)
        if claims is None:
            message = "The identity provider sent no ID token; is 'openid' in LITEMAAS_OIDC_SCOPES?"
            raise LoginRefused("answer_invalid", message, code="login_failed", setting="LITEMAAS_OIDC_SCOPES")
        claims = dict(claims)
        if "userinfo_endpoint" in metadata and not is_complete(claims, self._settings):
            more = await client.userinfo(token=token)
            # It is not signed, and counts only for the same person.
            if more.get("sub") == claims["sub"]:
                claims = merge_claims(claims, more, self._settings)
        return read_person(claims, self._settings)

    async def _ask_openshift(self, client: StarletteOAuth2App, token: Any) -> Person:
        answer = await client.get(f"{self._settings.openshift_api_url}{OPENSHIFT_USER}", token=token)
        if answer.status_code != 200:
            message = f"OpenShift's API does not report who you are (HTTP {answer.status_code}); log in again."
            raise LoginRefused("answer_invalid", message, code="login_failed", setting="LITEMAAS_OPENSHIFT_API_URL")
        user = answer.json()
        name = str(user["metadata"]["name"])
        return Person(
            issuer=str(self._settings.openshift_url),
            subject=str(user["metadata"].get("uid") or name),
            email=name if "@" in name else f"{name}@{self._settings.openshift_email_domain}",
            # A name is unique in the cluster, and admins of the cluster assign it.
            is_email_verified=True,
            name=str(user.get("fullName") or name),
            groups=[str(group) for group in user.get("groups") or []],
            issued_at=datetime.now(UTC),
            door="openshift",
        )


class _explained:
    """Turns exceptions of Authlib and the network into GatewayErrors, without text of the provider."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, httpx2.HTTPError):
            raise GatewayError("upstream_unavailable", "The identity provider does not answer; try again.") from exc
        if isinstance(exc, AuthlibBaseError | JoseError | KeyError | ValueError | TypeError | AttributeError):
            message = "The identity provider's answer is not valid; log in again."
            raise LoginRefused("answer_invalid", message, code="login_failed") from exc


def _text(secret: Any) -> str | None:
    return None if secret is None else secret.get_secret_value()
