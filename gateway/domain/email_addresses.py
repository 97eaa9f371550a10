"""One form for each e-mail address, so that two spellings of one address are one user.

The part before the @ is ASCII (as RFC 5321 has it, without quotes): letters of other scripts look like Latin ones, and
mail servers seldom take them. Compatibility forms of ASCII (ligatures, full-width letters) become ASCII by NFKC. The
host is written as in DNS, by UTS #46: a host that only looks like another one shows itself as `xn--…`.
"""

import re
import unicodedata
from typing import Final

import idna

MAX_LENGTH: Final = 254
_LOCAL_PART: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]+")
# Scripts that are written together, by the first word of their letters' names in Unicode. No registry takes others
# mixed within one label.
_WRITTEN_TOGETHER: Final = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA"},
    {"LATIN", "CJK", "HANGUL"},
    {"LATIN", "CJK", "BOPOMOFO"},
)


def normalize_address(text: str) -> str:
    """In lower case and ASCII. Raises ValueError, whose message says what is wrong with the address."""
    folded = unicodedata.normalize("NFKC", text.strip()).lower()
    local, at, host = folded.rpartition("@")
    if not (at and local and host):
        raise ValueError("must have the form name@host")
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError("may have only ASCII letters, digits and .!#$%&'*+/=?^_`{|}~- before the @")
    address = f"{local}@{_normalize_host(host)}"
    if len(address) > MAX_LENGTH:
        raise ValueError(f"may have {MAX_LENGTH} characters")
    return address


def is_literal(text: str) -> bool:
    """Whether the part before the @ is ASCII as it was written. Only then is it the address that somebody was verified
    to have: the Kelvin sign is another letter than `k` to their mail server, although it is folded into `k` here."""
    local, at, _ = text.strip().rpartition("@")
    return bool(at) and local.isascii()


def _normalize_host(host: str) -> str:
    try:
        encoded = idna.encode(host, uts46=True).decode("ascii")
        labels = idna.decode(encoded).split(".")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("must have a host name after the @") from None
    # A final dot names the same host.
    if not labels[-1] or not all(_is_of_one_writing(label) for label in labels):
        raise ValueError("must have a host name after the @, whose labels mix no scripts")
    return encoded


def _is_of_one_writing(label: str) -> bool:
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in label if letter.isalpha()}
    return len(scripts) <= 1 or any(scripts <= together for together in _WRITTEN_TOGETHER)
