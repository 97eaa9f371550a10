"""Step 1: whose key is this?"""

from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.keys import PERSONAL_PREFIX, PREFIX, Peppers, is_well_formed
from gateway.storage.key_cache import MAX_RECORDS, KeyCache, KeysUnavailable

HOW_TO_SEND: Final = "Send your API key as 'Authorization: Bearer sk-lm-…'."


# (header, value), as they came.
Credentials = list[tuple[bytes, bytes]]
# Named in a refusal; any other word before a space may be a secret.
_SCHEMES: Final = ("Basic", "Digest", "Negotiate")


def read_key(credentials: Credentials) -> str:
    """The key of a request. Another service's credential beside it, as an ingress or an editor sends, counts for
    nothing; two different keys are refused.

    Raises `missing_api_key`, `conflicting_api_keys` or `invalid_api_key`, which name headers and never a value.
    """
    keys: dict[str, str] = {}
    foreign: list[str] = []
    for name, value in credentials:
        scheme, secret = _parts(name, value.decode("latin-1").strip())
        header = name.decode()
        if scheme == "Bearer" and is_well_formed(secret):
            keys.setdefault(secret, header)
        elif secret or scheme != "Bearer":
            foreign.append(f"'{header}' has {_describe(scheme, secret)}")
    if len(keys) == 1:
        return next(iter(keys))
    if keys:
        headers = " and ".join(f"'{header}'" for header in keys.values())
        raise GatewayError("conflicting_api_keys", f"The request carries different API keys in {headers}; send one.")
    if foreign:
        seen = ", ".join(dict.fromkeys(foreign))
        raise GatewayError("invalid_api_key", f"The request carries no key of this gateway: {seen}. {HOW_TO_SEND}")
    raise GatewayError("missing_api_key", f"No API key was sent. {HOW_TO_SEND}")


def _parts(name: bytes, value: str) -> tuple[str, str]:
    """Scheme and secret; headers other than `Authorization` hold the secret alone."""
    if name != b"authorization" or not value:
        return "Bearer", value
    scheme, _, secret = value.partition(" ")
    return ("Bearer" if scheme.lower() == "bearer" else scheme), secret.strip()


def _describe(scheme: str, secret: str) -> str:
    if scheme != "Bearer":
        known = next((one for one in _SCHEMES if one.lower() == scheme.lower()), "another")
        return f"the scheme {known}" if known != "another" else "a scheme that is not supported"
    if secret.startswith(PREFIX):
        return "a key with a typo"
    if secret.startswith(PERSONAL_PREFIX):
        return "a personal access token, which opens the admin API only"
    return "a credential of another form"


class Authenticator:
    """Finds key records by the credentials of requests."""

    def __init__(self, peppers: Peppers, keys: KeyCache) -> None:
        self._peppers = peppers
        self._keys = keys
        # Of a credential that was read before: the digests of its key, which take ten times as long to work out. No
        # key is kept: credentials are known by a digest with a secret of this process.
        self._secret = token_bytes(32)
        self._digests: dict[bytes, bytes] = {}

    async def find_record(self, credentials: Credentials) -> KeyRecord:
        """The key's record, which may be of one that is over. Raises `invalid_api_key`, `keys_unavailable`, and as
        `read_key`."""
        mark = None
        if len(credentials) == 1:
            name, value = credentials[0]
            mark = blake2b(name + b":" + value, digest_size=16, key=self._secret).digest()
            digests = self._digests.get(mark)
            if digests is not None and (known := self._keys.peek(digests)) is not None:
                return known
        digests = b"".join(self._peppers.digests(read_key(credentials)))
        try:
            record = await self._keys.find(digests)
        except KeysUnavailable:
            message = "API keys cannot be looked up at this moment. Try again."
            raise GatewayError("keys_unavailable", message, headers={"retry-after": "2"}) from None
        if record is None:
            raise GatewayError("invalid_api_key", "This API key does not exist.")
        if mark is not None:
            if len(self._digests) >= MAX_RECORDS:
                self._digests.clear()
            self._digests[mark] = digests
        return record
