"""Where notifications go: webhooks and the mail server. Both are reached, and nothing is sent."""

import asyncio
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from admin_api.operations.doctor.database import Database, connected
from admin_api.operations.doctor.findings import Findings
from admin_api.operations.notifications.smtp import MailError, MailServer, log_in_once
from admin_api.operations.notifications.webhook_urls import WebhookURLError, WebhookURLRules, resolve
from admin_api.storage import webhooks
from admin_api.storage.webhooks import Webhook
from admin_api.tls import trusted

CONNECT_S: Final = 5.0
MAX_WEBHOOKS: Final = 200


async def check_webhooks(found: Findings, database: Database, rules: WebhookURLRules, ca_file: Path | None) -> None:
    """Connects to the server of each webhook that is enabled."""
    async with connected(database) as connection:
        enabled = [
            one for one in await webhooks.list_webhooks(connection, after_id=0, limit=MAX_WEBHOOKS) if one.enabled
        ]
    by_server: dict[str, Webhook] = {}
    for webhook in enabled:
        parts = urlsplit(webhook.url)
        by_server.setdefault(f"{parts.scheme}://{parts.netloc}", webhook)
    faults = await asyncio.gather(*(_reach(server, rules, ca_file) for server in by_server))
    for (server, webhook), fault in zip(by_server.items(), faults, strict=True):
        if fault is not None:
            found.problem(
                f"Webhook {webhook.id} cannot be reached at {server}: {fault}",
                f"Correct its URL ('litemaas webhooks update {webhook.id} --url …'), open the way to it (firewall, "
                "LITEMAAS_WEBHOOK_NETWORKS, LITEMAAS_WEBHOOK_CA_FILE), or disable it.",
            )
    found.ok(f"{len(enabled)} webhooks are enabled, at {len(by_server)} servers.")


async def _reach(server: str, rules: WebhookURLRules, ca_file: Path | None) -> str | None:
    """What is wrong; None: it can be connected to."""
    parts = urlsplit(server)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    try:
        address = await resolve(host, port, rules)
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(
                address, port, ssl=trusted(ca_file) if is_tls else None, server_hostname=host if is_tls else None
            )
    except WebhookURLError as exc:
        return str(exc)
    except ssl.SSLCertVerificationError as exc:
        return f"its certificate is not accepted ({exc.verify_message})."
    except TimeoutError:
        return f"no connection within {CONNECT_S:g} s."
    except OSError as exc:
        return f"{exc.strerror or type(exc).__name__}."
    writer.close()
    return None


async def check_mail(found: Findings, mail: MailServer | None) -> None:
    """Connects and logs in."""
    if mail is None:
        found.ok("No mail server is set (LITEMAAS_SMTP_URL): no e-mails are sent.")
        return
    try:
        await asyncio.to_thread(log_in_once, mail, timeout_s=CONNECT_S)
    except MailError as exc:
        found.problem(
            str(exc),
            "Correct LITEMAAS_SMTP_URL (user, password, host, port) or LITEMAAS_SMTP_CA_FILE, or open the way to it.",
        )
    else:
        found.ok("The mail server answers, and takes the login.")
