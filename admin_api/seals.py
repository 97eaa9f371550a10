"""Secrets that must be read back (webhook signing secrets), sealed before they reach the database.

AES-256-GCM with a key that is not in the database. What a sealed secret is for and the row it belongs to are bound to
it as associated data: copied to another row or column it does not open. A sealed secret is one byte string: version of
the key (2 bytes), nonce (12, random: below 2^32 secrets a key, NIST SP 800-38D 8.3), ciphertext and tag.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
VERSION_BYTES: Final = 2


class SealError(Exception):
    """A sealed secret that can not be opened; the message says why and what to do, never what is in it."""


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The keys secrets are sealed with, by version: the highest seals, all open."""

    keys: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "SecretKeys":
        """From `1:<64 hex>,2:<64 hex>`; raises ValueError without showing a key."""
        keys: dict[int, bytes] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            version, _, key = part.partition(":")
            try:
                number, secret = int(version), bytes.fromhex(key)
            except ValueError:
                raise ValueError("write it as 1:<64 hex digits>, more versions after commas") from None
            if number in keys:
                raise ValueError(f"version {number} stands there twice")
            keys[number] = secret
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError("each key is 32 random bytes, as 64 hex digits: openssl rand -hex 32")
        if any(len(set(key)) < 8 for key in keys.values()):
            raise ValueError("a key is not random; make one: openssl rand -hex 32")
        if not all(0 < version < 2**15 for version in keys):
            raise ValueError("versions are numbers from 1 to 32767")
        return cls(keys)

    @property
    def newest(self) -> int:
        """The version that seals."""
        return max(self.keys)

    def seal(self, secret: str, *, purpose: str, row: object) -> bytes:
        """`secret` for this row and purpose only."""
        # Here and not above: it takes long to load, and most commands never seal anything.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, nonce = self.newest, secrets.token_bytes(NONCE_BYTES)
        about = _about(version, purpose, row)
        sealed = AESGCM(self.keys[version]).encrypt(nonce, secret.encode(), about)
        return version.to_bytes(VERSION_BYTES) + nonce + sealed

    def open(self, sealed: bytes, *, purpose: str, row: object) -> str:
        """What was sealed for this row and purpose; raises SealError."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version = version_of(sealed)
        key = self.keys.get(version)
        if key is None:
            raise SealError(
                f"The secret of {purpose} {row} was sealed under version {version}, which LITEMAAS_SECRET_KEYS does "
                "not have: add that version again, then run 'litemaas secrets rotate' before it goes."
            )
        nonce, rest = sealed[VERSION_BYTES : VERSION_BYTES + NONCE_BYTES], sealed[VERSION_BYTES + NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, rest, _about(version, purpose, row)).decode()
        except (InvalidTag, ValueError):
            raise SealError(
                f"The secret of {purpose} {row} does not open with version {version} of LITEMAAS_SECRET_KEYS: that "
                "version holds another key than the one it was sealed with, or the row was changed."
            ) from None


def version_of(sealed: bytes) -> int:
    """The version of the key it was sealed with."""
    return int.from_bytes(sealed[:VERSION_BYTES])


def _about(version: int, purpose: str, row: object) -> bytes:
    return f"litemaas|{version}|{purpose}|{row}".encode()
