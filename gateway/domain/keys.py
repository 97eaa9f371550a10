"""The form of an API key, its checksum and its digest.

A key is `sk-lm-`, 43 base62 digits of 32 random bytes, and 6 base62 digits of the CRC-32 of all before them: a typo
is refused without a look-up, and secret scanners can match the form. What is stored is the HMAC-SHA256 with a pepper
that is not in the database, so that a copy of the database alone cannot even test a key. A slow hash would add
nothing: 256 random bits cannot be guessed.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "sk-lm-"
# Of personal access tokens, which have the same form; they open the admin API and never the gateway.
PERSONAL_PREFIX: Final = "lmp-"
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(first + second for first in ALPHABET for second in ALPHABET)
SECRET_DIGITS: Final = 43  # ceil(256 / log2(62))
CHECKSUM_DIGITS: Final = 6  # ceil(32 / log2(62))
# What may be a key or token, or the beginning of one, of ours or of a provider.
SECRET_FORM: Final = re.compile(r"(sk-|lmp-|whsec_)[0-9A-Za-z_-]{16,}")
FORM: Final = re.compile(rf"[0-9A-Za-z]{{{SECRET_DIGITS + CHECKSUM_DIGITS}}}")


def without_secrets(text: str) -> str:
    """`text`, in which of all that may be a key or a token only the first letters are left."""
    return SECRET_FORM.sub(r"\1…", text)


def base62(number: int, digits: int) -> str:
    """`number` in base 62, zero-padded to `digits`."""
    text = ""
    for _ in range(digits // 2):
        number, rest = divmod(number, 62 * 62)
        text = _PAIRS[rest] + text
    return ALPHABET[number % 62] + text if digits % 2 else text


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()), CHECKSUM_DIGITS)


def new_key(prefix: str = PREFIX) -> str:
    """A key, or with PERSONAL_PREFIX a personal access token, never made before."""
    return derived_key(secrets.token_bytes(32), prefix)


def derived_key(secret: bytes, prefix: str = PREFIX) -> str:
    """The key that is made of these 32 bytes, which nobody can guess."""
    body = prefix + base62(int.from_bytes(secret), SECRET_DIGITS)
    return body + _checksum(body)


def is_well_formed(key: str, prefix: str = PREFIX) -> bool:
    """Whether `key` has a key's form and the right checksum; says nothing about whether it exists."""
    if not (key.startswith(prefix) and FORM.fullmatch(key, len(prefix))):
        return False
    return _checksum(key[:-CHECKSUM_DIGITS]) == key[-CHECKSUM_DIGITS:]


@dataclass(frozen=True, slots=True)
class Peppers:
    """The secrets keys are hashed with, by version: the highest makes new digests, all find old ones."""

    secrets: Mapping[int, bytes] = field(repr=False)
    # By version, newest first: keyed and still empty. Copying one costs a third of making it.
    _empty: dict[int, hmac.HMAC] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        empty = {version: hmac.new(self.secrets[version], None, "sha256") for version in sorted(self.secrets)[::-1]}
        object.__setattr__(self, "_empty", empty)

    @classmethod
    def parse(cls, text: str) -> "Peppers":
        """From `1:<hex>,2:<hex>`, each of at least 32 bytes; raises ValueError without showing the secret."""
        peppers: dict[int, bytes] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            version, _, secret = part.partition(":")
            try:
                peppers[int(version)] = bytes.fromhex(secret)
            except ValueError:
                raise ValueError("write it as 1:<hex of at least 32 random bytes>, more after commas") from None
        if not peppers or any(len(secret) < 32 for secret in peppers.values()):
            raise ValueError("each pepper needs at least 32 random bytes, as 64 hex digits")
        if not all(0 < version < 2**15 for version in peppers):
            raise ValueError("pepper versions are numbers from 1 to 32767")
        return cls(peppers)

    @property
    def newest(self) -> int:
        """The version new keys are hashed with."""
        return max(self.secrets)

    def digest(self, key: str, version: int) -> bytes:
        """32 bytes; raises KeyError for a version that is not configured."""
        keyed = self._empty[version].copy()
        keyed.update(key.encode())
        return keyed.digest()

    def digests(self, key: str) -> list[bytes]:
        """One digest a version, newest first: a key may have been made under any of them."""
        return [self.digest(key, version) for version in self._empty]
