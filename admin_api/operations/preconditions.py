"""ETag and If-Match: a change that is meant for a thing as it was read, and not as somebody made it meanwhile."""

import hashlib
import re
from typing import Final

import msgspec

from admin_api.operations.validation import invalid
from gateway.domain.errors import GatewayError

# RFC 9110, 8.8.3: a tag may hold commas, so a list of them is not split at commas. Between two tags a blank or comma
# can be matched in one way only: with two ways each, a header of thirty commas would be tried in a billion.
TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS: Final = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")


def version_of(*parts: object) -> str:
    """The ETag of a thing that is shown from these rows: another one whenever anything in them is another."""
    return f'"{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"'


def check_version(version: str | None, as_of: str | None) -> None:
    """With the thing locked, whose ETag is `version`; None: there is none. `as_of` is If-Match: none, `*`, or ETags, of
    which a weak one is never the same (RFC 9110, 13.1.1). Raises GatewayError `precondition_failed` or
    `validation_failed`."""
    if as_of is None:
        return
    is_any = as_of.strip() == "*"
    if not is_any and not TAGS.fullmatch(as_of):
        raise invalid("if-match", "If-Match is an ETag as you got it, in its quotes, or several after commas, or *.")
    if version is None:
        raise GatewayError("precondition_failed", "There is no such thing now that could be as you read it.")
    if not is_any and version not in re.findall(TAG, as_of):
        raise GatewayError("precondition_failed", "It has changed since you read it: read it again, then decide.")
