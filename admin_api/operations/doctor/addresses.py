"""Addresses that programs and browsers call: the identity provider, the gateway, and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from admin_api.operations.doctor.clocks import compare
from admin_api.operations.doctor.findings import Findings
from admin_api.operations.doctor.http import NoAnswer, get
from gateway.tls import TlsFiles

DISCOVERY: Final = "/.well-known/openid-configuration"
OPENSHIFT_METADATA: Final = "/.well-known/oauth-authorization-server"
REACH: Final = (
    "Look whether {setting} is right, whether LITEMAAS_LOGIN_CA_FILE has its CA, and whether this machine may reach it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """The identity providers of the settings."""

    issuer: str | None = None
    openshift_api: str | None = None
    ca_file: Path | None = None


async def check_logins(found: Findings, logins: Logins) -> None:
    """The metadata and keys of each identity provider."""
    if logins.issuer is None and logins.openshift_api is None:
        found.warn(
            "No identity provider is set: nobody can log in to the portal.",
            "Set LITEMAAS_OIDC_ISSUER and what it needs (docs/logins.md).",
        )
    if logins.issuer is not None:
        await _check_issuer(found, logins.issuer, logins.ca_file)
    if logins.openshift_api is not None:
        await _check_openshift(found, logins.openshift_api, logins.ca_file)


async def _check_issuer(found: Findings, issuer: str, ca_file: Path | None) -> None:
    cure = REACH.format(setting="LITEMAAS_OIDC_ISSUER")
    try:
        answer = await get(f"{issuer}{DISCOVERY}", tls=TlsFiles(ca=ca_file))
    except NoAnswer as exc:
        found.problem(f"The identity provider {issuer} does not answer ({exc}).", cure)
        return
    compare(found, f"the identity provider {issuer}", answer.clock)
    metadata = _object(answer.response)
    if metadata is None:
        found.problem(
            f"{issuer}{DISCOVERY} answers with status {answer.response.status_code}, and not with metadata.", cure
        )
        return
    named = str(metadata.get("issuer"))
    if named.rstrip("/") != issuer:
        found.problem(
            f"The provider at {issuer} calls itself {named}: its tokens are not accepted.",
            f"Set LITEMAAS_OIDC_ISSUER to {named}.",
        )
    await _check_keys(found, issuer, metadata.get("jwks_uri"), ca_file)


async def _check_keys(found: Findings, issuer: str, url: Any, ca_file: Path | None) -> None:
    cure = "Look at the provider's log, and whether this machine may reach the address of its keys."
    try:
        answer = await get(str(url), tls=TlsFiles(ca=ca_file))
    except NoAnswer as exc:
        found.problem(f"The keys of {issuer} cannot be read at {url} ({exc}).", cure)
        return
    if not (_object(answer.response) or {}).get("keys"):
        found.problem(f"{url} has no keys of {issuer} (status {answer.response.status_code}).", cure)
    else:
        found.ok(f"The identity provider {issuer} answers, and its keys can be read.")


async def _check_openshift(found: Findings, url: str, ca_file: Path | None) -> None:
    try:
        answer = await get(f"{url}{OPENSHIFT_METADATA}", tls=TlsFiles(ca=ca_file))
    except NoAnswer as exc:
        found.problem(
            f"OpenShift's API {url} does not answer ({exc}).", REACH.format(setting="LITEMAAS_OPENSHIFT_API_URL")
        )
        return
    compare(found, f"OpenShift's API {url}", answer.clock)
    found.ok(f"OpenShift's API {url} answers.")


async def check_gateway(found: Findings, url: str | None, ca_file: Path | None) -> None:
    """Alive and ready, at the address that the admin program calls."""
    if url is None:
        found.warn(
            "LITEMAAS_GATEWAY_URL is not set: the portal has no playground, and shows no address to call.",
            "Set it to the address that users call.",
        )
        return
    try:
        answer = await get(f"{url}/health/ready", tls=TlsFiles(ca=ca_file))
    except NoAnswer as exc:
        found.problem(
            f"The gateway at {url} does not answer ({exc}).",
            "Look whether it runs, whether LITEMAAS_GATEWAY_URL or LITEMAAS_GATEWAY_INTERNAL_URL is right "
            "(LITEMAAS_GATEWAY_CA_FILE for its CA), and whether this machine may reach it.",
        )
        return
    body = _object(answer.response) or {}
    parts = body.get("parts")
    if not isinstance(parts, dict):
        found.problem(
            f"What answers at {url} is no gateway (status {answer.response.status_code}).",
            "Set LITEMAAS_GATEWAY_URL to the address of the gateway, without /v1.",
        )
    elif answer.response.status_code != 200:
        away = ", ".join(name for name, is_there in parts.items() if not is_there)
        found.problem(f"The gateway at {url} is not ready: {away}.", "See docs/operations.md, and the gateway's log.")
    else:
        found.ok(f"The gateway at {url} is ready.")


async def check_metrics(found: Findings, urls: Sequence[str | None]) -> None:
    """Of the programs on this machine; None: switched off."""
    for url in urls:
        await _check_metrics(found, url)


async def _check_metrics(found: Findings, url: str | None) -> None:
    if url is None:
        found.warn(
            "LITEMAAS_METRICS_LISTEN is off: no alert can fire.", "Set it to an address that Prometheus reaches."
        )
        return
    try:
        answer = await get(f"{url}/metrics")
    except NoAnswer:
        found.warn(
            f"No metrics are served at {url}.",
            "If a program should run on this machine, start it; see LITEMAAS_METRICS_LISTEN.",
        )
        return
    if answer.response.status_code != 200 or b"litemaas_" not in answer.response.content:
        found.problem(
            f"What answers at {url}/metrics is no program of LiteMaaS.",
            "Another program has this port: set another one in LITEMAAS_METRICS_LISTEN.",
        )
    else:
        found.ok(f"Metrics are served at {url}.")


def _object(response: Any) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
