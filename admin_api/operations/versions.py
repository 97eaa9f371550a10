"""ETag and If-Match: a change that is meant for a thing as it was read, and not as somebody made it meanwhile."""

from datetime import datetime

from gateway.domain.errors import GatewayError


def version_of(updated_at: datetime) -> str:
    """The ETag of a row: the microsecond it was last changed."""
    return f'"{int(updated_at.timestamp() * 1_000_000):x}"'


def check_version(updated_at: datetime, as_of: str | None) -> None:
    """With the row locked. `as_of` is If-Match: none, `*`, or ETags; raises GatewayError `precondition_failed`."""
    if as_of is None or as_of.strip() == "*":
        return
    if version_of(updated_at) not in [tag.strip() for tag in as_of.split(",")]:
        raise GatewayError("precondition_failed", "It has changed since you read it: read it again, then decide.")
