"""Keys for what this program seals or signs for itself, each derived from a pepper for one purpose (HKDF, RFC 5869).

What they protect is short-lived (a login under way, an answer kept for a day), so it needs no key of its own in the
settings: a new pepper makes new things, the old one opens old ones.
"""

import secrets
from typing import Final

from gateway.domain.keys import Peppers

NONCE_BYTES: Final = 12


def derive(pepper: bytes, purpose: str) -> bytes:
    """32 bytes for this purpose only."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=f"litemaas {purpose}".encode()).derive(pepper)


def seal(peppers: Peppers, purpose: str, text: bytes) -> bytes:
    """AES-256-GCM: nobody else can read it or make one. A nonce is random, for far fewer than 2^32 a key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(NONCE_BYTES)
    key = derive(peppers.secrets[peppers.newest], purpose)
    return nonce + AESGCM(key).encrypt(nonce, text, purpose.encode())


def unseal(peppers: Peppers, purpose: str, sealed: bytes) -> bytes | None:
    """None for what was not sealed here for this purpose."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) <= NONCE_BYTES:
        return None
    for version in sorted(peppers.secrets, reverse=True):
        key = derive(peppers.secrets[version], purpose)
        try:
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            continue
    return None
