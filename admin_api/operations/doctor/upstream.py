"""LiteLLM: each address, the key, the version, the clock, and its models against ours."""

import asyncio
import json
import re
from typing import Final

from admin_api.operations.doctor.clocks import compare
from admin_api.operations.doctor.database import Database, connected
from admin_api.operations.doctor.findings import Findings
from admin_api.operations.doctor.http import Answer, NoAnswer, get
from admin_api.operations.doctor.names import some
from admin_api.operations.models.litellm_info import Catalogue, ModelInfoError, parse_model_info
from admin_api.operations.models.sync import LiteLLM
from admin_api.storage import models

# The first one that all tests ran with, and the first that none did.
OLDEST_VERSION: Final = (1, 106)
UNTESTED_VERSION: Final = (1, 107)
MODELS: Final = "/model/info"


async def check_litellm(found: Findings, litellm: LiteLLM, database: Database) -> None:
    """All addresses at once; then their models."""
    lists = [one for one in await asyncio.gather(*(_check(found, litellm, url) for url in litellm.urls)) if one]
    if not lists:
        return
    names = [{model.name for model in one.models} for one in lists]
    if any(one != names[0] for one in names):
        found.problem(
            "The addresses of LITEMAAS_LITELLM_URLS have different models.", "Give all the same configuration."
        )
    async with connected(database) as connection:
        known = await models.list_all_models(connection)
    ours = {model.name for model in known if model.listed and model.enabled}
    here = set.union(*names)
    if not here:
        found.problem("LiteLLM has no models.", "Add models to its configuration (model_list).")
    elif gone := sorted(ours - here):
        found.problem(
            f"LiteLLM has {len(gone)} of our models no more ({some(gone)}): calls to them fail.",
            "Add them to LiteLLM, or run 'litemaas models sync --accept-missing'.",
        )
    elif new := sorted(here - {model.name for model in known}):
        found.warn(
            f"{len(new)} models of LiteLLM are not in the catalogue ({some(new)}).", "Run 'litemaas models sync'."
        )
    else:
        found.ok(f"The catalogue has all {len(here)} models of LiteLLM.")


async def _check(found: Findings, litellm: LiteLLM, url: str) -> Catalogue | None:
    key = {"authorization": f"Bearer {litellm.api_key.get_secret_value()}"}
    try:
        answer = await get(f"{url}{MODELS}", tls=litellm.tls, headers=key)
        without_key = await get(f"{url}{MODELS}", tls=litellm.tls)
        readiness = await get(f"{url}/health/readiness/details", tls=litellm.tls, headers=key)
    except NoAnswer as exc:
        found.problem(
            f"LiteLLM at {url} does not answer ({exc}).",
            "Look whether it runs, whether LITEMAAS_LITELLM_URLS is right (LITEMAAS_LITELLM_CA_FILE for its CA), and "
            "whether a network policy or firewall lets this machine through.",
        )
        return None
    compare(found, f"LiteLLM at {url}", answer.clock)
    _check_version(found, url, readiness)
    if without_key.response.status_code == 200:
        found.problem(
            f"LiteLLM at {url} answers without a key: everybody who reaches it passes by all limits.",
            "Set its master_key, and let only the programs of LiteMaaS reach it (NetworkPolicy).",
        )
    return _read_models(found, url, answer)


def _read_models(found: Findings, url: str, answer: Answer) -> Catalogue | None:
    status = answer.response.status_code
    if status in (400, 401, 403):
        found.problem(
            f"LiteLLM at {url} refuses LITEMAAS_LITELLM_API_KEY (status {status}).",
            "Set it to LiteLLM's master key, or to a virtual key of it that is valid and has no limits.",
        )
    elif status != 200:
        found.problem(f"LiteLLM at {url} answers with status {status} to {MODELS}.", "Look at its log.")
    else:
        try:
            return parse_model_info(answer.response.content)
        except ModelInfoError as exc:
            found.problem(f"The models of LiteLLM at {url} cannot be read: {exc}.", "Look whether this is LiteLLM.")
    return None


def _check_version(found: Findings, url: str, readiness: Answer) -> None:
    version = _version(readiness)
    number = re.match(r"(\d+)\.(\d+)", version or "")
    if number is None:
        found.ok(f"LiteLLM answers at {url}; it does not say its version.")
        return
    parts = (int(number[1]), int(number[2]))
    newest_tested = f"{OLDEST_VERSION[0]}.{OLDEST_VERSION[1]}"
    if parts < OLDEST_VERSION:
        found.problem(f"LiteLLM {version} at {url} is too old.", f"Upgrade it to {newest_tested} or later.")
    elif parts >= UNTESTED_VERSION:
        found.warn(
            f"LiteLLM {version} at {url} is newer than the versions that this one of LiteMaaS was tested with.",
            f"Try it apart first, or run {newest_tested}; prices and usage may be reported in other fields.",
        )
    else:
        found.ok(f"LiteLLM {version} answers at {url}.")


def _version(readiness: Answer) -> str | None:
    try:
        body = json.loads(readiness.response.content)
    except ValueError:
        return None
    version = body.get("litellm_version") if isinstance(body, dict) else None
    return version if isinstance(version, str) and version.isprintable() else None
