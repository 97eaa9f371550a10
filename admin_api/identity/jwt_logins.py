"""JWTs of the identity provider as bearer tokens, verified with its published keys, which are cached."""

import asyncio
import hashlib
import json
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httpx2
import jwt

from admin_api.identity.claims import read_person
from admin_api.identity.identity_providers import ALGORITHMS, TIMEOUT_S
from admin_api.operations.actors import Actor
from admin_api.operations.people.logins import RoleRules, admit_person, find_known, note_login, note_unknown_groups
from admin_api.operations.people.personal_tokens import rejected_login
from admin_api.operations.people.refused_logins import LoginRefused
from admin_api.tls import trusted_by_default
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from uuid import UUID

    from admin_api.settings import Settings
    from gateway.storage.postgres import Pool

LEEWAY_S: Final = 30
KEEP_S: Final = 3600.0
# A token with an unknown key can cause one request to the provider in this time.
ASK_AGAIN_S: Final = 10.0
NOTE_AGAIN_S: Final = 3600.0
MAX_NOTED: Final = 10_000


class JWTLogins:
    """Fetches the provider's keys at the first token, each hour, and when a token names an unknown key."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = -KEEP_S
        self._noted: dict[str, float] = {}
        self._lock = asyncio.Lock()

    @property
    def are_allowed(self) -> bool:
        """Only with LITEMAAS_JWT_AUDIENCE: a token for another audience is not valid here."""
        return self._settings.jwt_audience is not None

    async def log_in(self, pool: "Pool", token: str, *, request_id: "UUID | None", ip: str | None) -> Actor:
        """Raises GatewayError `not_authenticated`; `upstream_unavailable` while the keys cannot be fetched."""
        claims = await self._verify(token)
        person = read_person(claims, self._settings, "jwt")
        rules = RoleRules(group_roles=self._settings.group_roles, initial_admins=self._settings.initial_admins)
        user = await find_known(pool, person, rules)
        if user is None:
            user = await admit_person(pool, person, rules, request_id=request_id, ip=ip)
        if user.status != "active":
            message = "The user of this token is deactivated; ask an admin."
            raise LoginRefused("deactivated", message, code="not_authenticated", about=person.about)
        # A token for an API often has no such claim. One that says that there are groups elsewhere is worth a line.
        if person.unknown_groups in ("elsewhere", "unreadable") and self._is_first(
            f"{user.id} {person.unknown_groups}"
        ):
            actor = Actor(name="login:jwt", role="program", via="login", request_id=request_id, ip=ip)
            async with pool.acquire() as connection, connection.transaction():
                await note_unknown_groups(connection, actor, user, person, rules)
        await note_login(pool, user)
        login = _name_of_login(claims)
        return Actor(name=user.email, role=user.role, user_id=user.id, request_id=request_id, ip=ip, login=login)

    def _is_first(self, what: str) -> bool:
        """Whether this was not noted in the last hour: a token comes with each call."""
        if monotonic() - self._noted.get(what, -NOTE_AGAIN_S) < NOTE_AGAIN_S:
            return False
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted[what] = monotonic()
        return True

    async def _verify(self, token: str) -> dict[str, Any]:
        try:
            key = await self._find_key(str(jwt.get_unverified_header(token).get("kid") or ""))
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.jwt_audience,
                issuer=self._settings.issuer_names,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise rejected_login("This token is expired; get a new one from the identity provider.") from None
        except jwt.PyJWTError as exc:
            raise rejected_login(f"This token is not valid here: {type(exc).__name__}.") from None
        return claims

    async def _find_key(self, kid: str) -> jwt.PyJWK:
        # While the keys are fetched, a known key is used; only a token with an unknown key waits.
        if self._must_ask(kid) and not (kid in self._keys and self._lock.locked()):
            async with self._lock:
                # The first one may have fetched the keys while this one waited.
                if self._must_ask(kid):
                    await self._ask()
        if not self._keys:
            raise GatewayError("upstream_unavailable", "The identity provider's keys cannot be fetched; try again.")
        if kid not in self._keys:
            raise jwt.InvalidKeyError("the provider has no such key")
        return self._keys[kid]

    def _must_ask(self, kid: str) -> bool:
        age_s = monotonic() - self._asked_at
        return age_s > KEEP_S or (kid not in self._keys and age_s > ASK_AGAIN_S)

    async def _ask(self) -> None:
        verify = trusted_by_default(self._settings.login_ca_file)
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify) as http:
                where = f"{self._settings.oidc_issuer}/.well-known/openid-configuration"
                metadata = (await http.get(where)).raise_for_status().json()
                published = (await http.get(metadata["jwks_uri"])).raise_for_status().json()["keys"]
            self._keys = {str(one.get("kid") or ""): key for one in published if (key := _public_key(one)) is not None}
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            # The cached keys stay valid while the provider is away.
            return
        finally:
            # At the end, so that those who waited for a provider that is slow to fail do not ask again.
            self._asked_at = monotonic()


def _name_of_login(claims: dict[str, Any]) -> str:
    """The same for a renewed token; another one for another client (RFC 9068, RFC 8693) or session (OpenID Connect
    Front-Channel Logout) of the same person."""
    names = [str(claims.get(name) or "") for name in ("iss", "sub", "azp", "client_id", "sid")]
    return f"jwt:{hashlib.sha256(json.dumps(names).encode()).hexdigest()}"


def _public_key(one: dict[str, Any]) -> jwt.PyJWK | None:
    """None for a shared secret, a key for encryption, and a key that cannot be parsed."""
    if one.get("kty") not in ("RSA", "EC", "OKP") or one.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK.from_dict(one)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
