"""Identity providers on loopback: a real OpenID Connect one from PyPI, a fake one, and one like OpenShift's."""

import base64
import hashlib
import json
import secrets
import time
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from loopback_servers import LoopbackServer
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from admin_api.tls import trusted_by_default
from deploy.embedded.identity_provider import IdentityProvider

# The URL of the admin API in a test's browser; nothing listens there.
ADMIN_URL: Final = "http://127.0.0.1:9"
PLANTED_SECRET: Final = "planted-client-secret-0123456789"


class OIDCProvider(IdentityProvider):
    """The identity provider of `make demo`, with users added while it runs."""

    def put_user(self, subject: str, **claims: Any) -> None:
        """Adds or replaces a user."""
        httpx2.put(f"{self.url}/users/{subject}", json=claims).raise_for_status()


class SigningKey:
    """An RSA key, as a provider publishes it."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self) -> dict[str, Any]:
        reported: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.private.public_key()))
        return reported | {"kid": self.kid, "use": "sig", "alg": "RS256"}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.private, "RS256", headers={"kid": self.kid} | header)


@cache
def first_key() -> SigningKey:
    """Of all fake providers of a process: making one takes longer than a login."""
    return SigningKey("first")


class FakeProvider(LoopbackServer):
    """Accepts every code and returns the ID token that a test sets; publishes keys for JWTs."""

    def __init__(self) -> None:
        self.keys = [first_key()]
        self.claims: dict[str, Any] = {}
        # What the user endpoint reports; None: there is none.
        self.more: dict[str, Any] | None = None
        self.make_token: Any = None
        self.jwks_asked = 0
        # Whether it has a page that ends its own session.
        self.has_logout = False
        self._nonces: dict[str, str] = {}
        super().__init__(
            [
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/jwks", self._jwks),
                Route("/userinfo", self._userinfo),
                Route("/logout", self._logout),
            ]
        )

    def all_claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a valid token."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": "ann", "aud": "litemaas", "iat": now, "exp": now + 300}
        return claims | {"email": "ann@example.org", "email_verified": True} | changes

    async def _discovery(self, _: Request) -> JSONResponse:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        reported: dict[str, Any] = {name: f"{self.url}/{path}" for name, path in names.items()}
        reported["id_token_signing_alg_values_supported"] = ["RS256", "HS256", "none"]
        if self.more is not None:
            reported["userinfo_endpoint"] = f"{self.url}/userinfo"
        if self.has_logout:
            reported["end_session_endpoint"] = f"{self.url}/logout"
        return JSONResponse(reported | {"issuer": self.url})

    async def _userinfo(self, _: Request) -> JSONResponse:
        return JSONResponse({"sub": "ann"} | (self.more or {}))

    async def _logout(self, _: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><html lang=en><title>Logged out</title><link rel=icon href=data:,>")

    async def _authorize(self, request: Request) -> RedirectResponse:
        code = secrets.token_hex(8)
        self._nonces[code] = request.query_params["nonce"]
        back = {"code": code, "state": request.query_params["state"]}
        return RedirectResponse(f"{request.query_params['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> JSONResponse:
        form = parse_qs((await request.body()).decode())
        claims = self.all_claims(nonce=self._nonces.pop(form["code"][0])) | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        token = self.make_token(claims) if self.make_token else self.keys[0].sign(claims)
        return JSONResponse({"access_token": "planted-access-token", "token_type": "Bearer", "id_token": token})

    async def _jwks(self, _: Request) -> JSONResponse:
        self.jwks_asked += 1
        return JSONResponse({"keys": [key.jwk() for key in self.keys]})


class OpenShift(LoopbackServer):
    """OAuth server and API of OpenShift: no ID token, the API returns the user. PKCE S256 is checked."""

    def __init__(self) -> None:
        # What the metadata's place answers; None: the metadata.
        self.metadata_answer: Response | None = None
        self.user: dict[str, Any] = {"metadata": {"name": "ann", "uid": "u-1"}, "fullName": "Ann", "groups": []}
        self._challenges: dict[str, str] = {}
        self._tokens: set[str] = set()
        super().__init__(
            [
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/oauth/authorize", self._authorize),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/apis/user.openshift.io/v1/users/~", self._whoami),
            ]
        )

    async def _metadata(self, _: Request) -> Response:
        if self.metadata_answer is not None:
            return self.metadata_answer
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "scopes_supported": ["user:check-access", "user:full", "user:info", "user:list-projects"],
                "response_types_supported": ["code", "token"],
                "grant_types_supported": ["authorization_code", "implicit"],
                "code_challenge_methods_supported": ["plain", "S256"],
            }
        )

    async def _authorize(self, request: Request) -> Any:
        asked = request.query_params
        if asked.get("code_challenge_method") != "S256" or asked.get("scope") != "user:info":
            return JSONResponse({"error": "invalid_request"}, 400)
        code = secrets.token_hex(8)
        self._challenges[code] = asked["code_challenge"]
        back = {"code": code, "state": asked["state"]}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> JSONResponse:
        form = parse_qs((await request.body()).decode())
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        login = base64.b64encode(f"litemaas:{PLANTED_SECRET}".encode()).decode()
        is_right = request.headers.get("authorization") == f"Basic {login}"
        if not is_right or self._challenges.pop(form["code"][0], None) != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = f"sha256~{secrets.token_hex(8)}"
        self._tokens.add(token)
        reported = {"access_token": token, "expires_in": 86400, "scope": "user:info", "token_type": "Bearer"}
        return JSONResponse(reported)

    async def _whoami(self, request: Request) -> JSONResponse:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return JSONResponse({"kind": "Status", "code": 401}, 401)
        return JSONResponse({"kind": "User", "apiVersion": "user.openshift.io/v1"} | self.user)


async def log_in(browser: httpx2.AsyncClient, *, subject: str | None = None, **asked: str) -> httpx2.Response:
    """A whole login in a browser; returns the response of the callback. `subject`: the user at the real provider."""
    away = await browser.get("/api/auth/login", params=asked)
    assert away.status_code == 302, away.text
    async with httpx2.AsyncClient(verify=trusted_by_default(None)) as elsewhere:
        there = away.headers["location"]
        answer = await (elsewhere.get(there) if subject is None else elsewhere.post(there, data={"sub": subject}))
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["location"])
    assert f"{back.scheme}://{back.netloc}" == ADMIN_URL
    return await browser.get(f"{back.path}?{back.query}")
