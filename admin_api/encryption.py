"""Encryption and signatures under keys that are not in the database (LITEMAAS_SECRET_KEYS).

Encrypted (AES-256-GCM) is what is stored or given to a browser and read back: webhooks' signing secrets, providers'
keys, answers stored for their Idempotency-Key, the state of a login. Purpose and row are bound to it as associated
data: copied to another row or column it cannot be decrypted. The format is one byte string: the version of the key (2
bytes), a nonce (12 bytes, random: fewer than 2^32 encryptions per key, NIST SP 800-38D 8.3), ciphertext and tag.
Signed (HMAC-SHA256) is what need not be secret, such as the id in a session's cookie.

Each purpose has separate keys, derived from those of the settings (HKDF, RFC 5869): the many encryptions of logins do
not count towards the bound of the others, and a value made for one purpose is not valid for another.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
VERSION_BYTES: Final = 2
# A bit beside the version marks a derived key. Without it, the key of the settings itself was used.
DERIVED: Final = 2**15


class EncryptionError(Exception):
    """A value that cannot be decrypted. The message says why and what to do, and has nothing of the content."""


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The keys by version: the highest encrypts and signs, all decrypt and verify."""

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
                raise ValueError(f"version {number} is given twice")
            keys[number] = secret
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError("each key is 32 random bytes, as 64 hex digits: openssl rand -hex 32")
        if any(len(set(key)) < 8 for key in keys.values()):
            raise ValueError("a key is not random; make one: openssl rand -hex 32")
        if not all(0 < version < DERIVED for version in keys):
            raise ValueError(f"versions are numbers from 1 to {DERIVED - 1}")
        return cls(keys)

    @property
    def newest(self) -> int:
        """The version that encrypts and signs."""
        return max(self.keys)

    def encrypt(self, secret: bytes, *, purpose: str, row: object) -> bytes:
        """`secret`, encrypted for this row and purpose only."""
        # Imported here: it takes long to load, and most commands do not encrypt.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, nonce = self.newest, secrets.token_bytes(NONCE_BYTES)
        encrypted = AESGCM(self._derive(version, purpose)).encrypt(nonce, secret, _about(version, purpose, row))
        return (version | DERIVED).to_bytes(VERSION_BYTES) + nonce + encrypted

    def decrypt(self, encrypted: bytes, *, purpose: str, row: object) -> bytes:
        """The secret that was encrypted for this row and purpose. Raises EncryptionError."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        head = int.from_bytes(encrypted[:VERSION_BYTES])
        version = self.version_of(encrypted)
        if version not in self.keys:
            raise EncryptionError(
                f"The secret of {purpose} {row} was encrypted with version {version}, which LITEMAAS_SECRET_KEYS "
                "does not have: add that version again, then run 'litemaas secrets rotate' before you remove it."
            )
        key = self._derive(version, purpose) if head & DERIVED else self.keys[version]
        nonce, rest = encrypted[VERSION_BYTES : VERSION_BYTES + NONCE_BYTES], encrypted[VERSION_BYTES + NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, rest, _about(version, purpose, row))
        except (InvalidTag, ValueError):
            raise EncryptionError(
                f"The secret of {purpose} {row} cannot be decrypted with version {version} of LITEMAAS_SECRET_KEYS: "
                "that version has another key than the one that encrypted it, or the row was changed."
            ) from None

    def version_of(self, encrypted: bytes) -> int:
        """Of the key that encrypted it."""
        return int.from_bytes(encrypted[:VERSION_BYTES]) & ~DERIVED

    def is_newest(self, encrypted: bytes) -> bool:
        """Whether the newest key encrypted it; otherwise it should be encrypted again."""
        return int.from_bytes(encrypted[:VERSION_BYTES]) == self.newest | DERIVED

    def digests(self, text: str, *, purpose: str) -> list[bytes]:
        """What only who has `text` and a key can make: 32 bytes under each version, newest first."""
        return [self._signature(version, text, purpose) for version in sorted(self.keys)[::-1]]

    def sign(self, text: str, *, purpose: str) -> str:
        """The signature of `text`, in hex."""
        return self._signature(self.newest, text, purpose).hex()

    def is_signed(self, text: str, signature: str, *, purpose: str) -> bool:
        """Whether the signature is valid for this purpose, with a key of any version. Constant time."""
        made = [self._signature(version, text, purpose).hex() for version in self.keys]
        return any(hmac.compare_digest(one.encode(), signature.encode()) for one in made)

    def _signature(self, version: int, text: str, purpose: str) -> bytes:
        return hmac.digest(self._derive(version, purpose), text.encode(), "sha256")

    def _derive(self, version: int, purpose: str) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"litemaas {purpose}".encode()).derive(self.keys[version])


def _about(version: int, purpose: str, row: object) -> bytes:
    return f"litemaas|{version}|{purpose}|{row}".encode()
