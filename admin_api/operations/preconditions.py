"""ETag and If-Match: a change applies only to the version that the client has read."""

import hashlib
import re
from dataclasses import fields, is_dataclass, replace
from typing import Final

import msgspec

from admin_api.operations.validation import invalid
from gateway.domain.errors import GatewayError

# RFC 9110, 8.8.3: a tag may contain commas, so a list of tags cannot be split at commas. Each space or comma between
# tags matches in one way only: otherwise thirty commas would cause exponential backtracking.
TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS: Final = re.compile(rf"[ \t,]*{TAG}(?:[ \t]*,[ \t,]*{TAG})*[ \t,]*")


# What changes by use, and by no change of the resource.
UNVERSIONED: Final = ("last_used_at", "idle_since", "last_login_at")


def version_of(*parts: object) -> str:
    """The ETag of a resource that is made of these rows. It changes whenever any value in them changes, but those of
    UNVERSIONED."""
    return f'"{hashlib.sha256(msgspec.json.encode([_versioned(part) for part in parts])).hexdigest()[:32]}"'


def _versioned(part: object) -> object:
    if not is_dataclass(part) or isinstance(part, type):
        return part
    names = [field.name for field in fields(part) if field.name in UNVERSIONED]
    return replace(part, **dict.fromkeys(names)) if names else part


def check_version(version: str | None, as_of: str | None) -> None:
    """Checks If-Match. The resource must be locked; `version` is its ETag, None if it does not exist. `as_of` is the
    header: None, `*`, or ETags, of which weak ones never match (RFC 9110, 13.1.1). Raises GatewayError
    `precondition_failed` or `validation_failed`."""
    if as_of is None:
        return
    is_any = as_of.strip() == "*"
    if not is_any and not TAGS.fullmatch(as_of):
        raise invalid("if-match", "If-Match must be an ETag with its quotes, several ETags separated by commas, or *.")
    if version is None:
        raise GatewayError("precondition_failed", "The resource does not exist any more.")
    if not is_any and version not in re.findall(TAG, as_of):
        raise GatewayError("precondition_failed", "The resource has changed since you read it. Read it again.")
