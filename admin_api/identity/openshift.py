"""Where OpenShift's OAuth server is: its metadata lies at the API server by the documentation, at some clusters at the
OAuth server itself."""

from collections.abc import Mapping
from typing import Any, Final

import httpx2
import structlog

from admin_api.operations.people.refused_logins import LoginRefused

log = structlog.get_logger(__name__)

METADATA: Final = "/.well-known/oauth-authorization-server"
NEEDED: Final = ("authorization_endpoint", "token_endpoint")


async def find_metadata(places: Mapping[str, str], http: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of the first place that has it; places are addresses by the name of their setting. Logs what each
    answered. Raises LoginRefused `upstream_unavailable`, which says it too."""
    answers: dict[str, str] = {}
    async with httpx2.AsyncClient(**http) as client:
        for setting, url in places.items():
            found, answers[setting] = await _ask(client, f"{url}{METADATA}")
            if found is not None:
                log.info("openshift_metadata_found", found_at=setting, answers=answers)
                return found
    log.warning("openshift_metadata_missing", answers=answers)
    said = ", ".join(f"{setting} ({answer})" for setting, answer in answers.items())
    message = f"OpenShift's OAuth metadata was not found at {said}. Ask an admin to check the addresses."
    raise LoginRefused("provider_unavailable", message, code="upstream_unavailable", setting=next(iter(places)))


async def _ask(client: httpx2.AsyncClient, url: str) -> tuple[dict[str, Any] | None, str]:
    """The metadata, if there is any, and the answer in a word or two."""
    try:
        answer = await client.get(url)
        found = answer.json() if answer.status_code == 200 else None
    except httpx2.HTTPError as exc:
        return None, f"no answer: {type(exc).__name__}"
    except ValueError:
        return None, "no JSON"
    if answer.status_code != 200:
        return None, f"HTTP {answer.status_code}"
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in NEEDED):
        return None, "no metadata"
    return found, "metadata"
