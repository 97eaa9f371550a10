"""Requests of checks: one answer, the clock of who answered, and failures in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from admin_api.operations.doctor.clocks import Clock, clock_of_header, now_s
from gateway.tls import NO_FILES, TlsFiles

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 5.0


class NoAnswer(Exception):
    """Why there was none, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the clock in its header Date."""

    response: "httpx2.Response"
    clock: Clock | None


async def get(url: str, *, tls: TlsFiles = NO_FILES, headers: Mapping[str, str] | None = None) -> Answer:
    """One GET, without redirects. Raises NoAnswer."""
    # Imported only here: it takes longer to load than the rest of a command.
    import httpx2

    try:
        verify = tls.context()
    except OSError:
        raise NoAnswer(f"{tls.ca} cannot be read or contains no certificate") from None
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False) as client:
            before_s = now_s()
            response = await client.get(url, headers=dict(headers or {}))
            after_s = now_s()
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as exc:
        raise NoAnswer(str(exc) or type(exc).__name__) from None
    return Answer(response, clock_of_header(response.headers.get("date"), before_s, after_s))
