"""What is posted to a webhook: the JSON of Standard Webhooks, or the message form of a chat service. No I/O."""

import json
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.notifications.email_texts import write_email

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin_api.storage.deliveries import Delivery
    from admin_api.storage.webhooks import Format

# Teams shows cards up to version 1.5 on computers and 1.2 on phones; RichTextBlock came with 1.2.
CARD_VERSION: Final = "1.2"


def write_body(delivery: "Delivery", form: "Format") -> bytes:
    """The request's body in this form, as UTF-8."""
    return json.dumps(FORMS[form](delivery), separators=(",", ":"), ensure_ascii=False).encode()


def _standard(delivery: "Delivery") -> dict[str, Any]:
    return {"type": delivery.event, "timestamp": delivery.created_at.isoformat(), "data": delivery.payload}


def _slack(delivery: "Delivery") -> dict[str, Any]:
    """An incoming webhook of Slack (docs.slack.dev, "Sending messages using incoming webhooks"), and of those that
    take its form, as Mattermost."""
    subject, text = (_escape(part) for part in write_email(delivery.event, delivery.payload, None))
    return {"text": f"*{subject}*\n{text.strip()}"}


def _escape(text: str) -> str:
    """The three characters of Slack's markup: a name must neither link nor call a channel (`<!channel>`)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(delivery: "Delivery") -> dict[str, Any]:
    """For Teams's workflow "when a webhook request is received": an Adaptive Card as the attachment of a message. The
    older connectors and their MessageCard are retired. A RichTextBlock shows names as they are, while a TextBlock would
    read Markdown in them."""
    subject, text = write_email(delivery.event, delivery.payload, None)
    heading = {"type": "TextRun", "text": subject, "weight": "bolder", "size": "medium"}
    paragraphs = [{"type": "TextRun", "text": part} for part in text.strip().split("\n\n")]
    blocks = [{"type": "RichTextBlock", "inlines": [run]} for run in (heading, *paragraphs)]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": CARD_VERSION,
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


FORMS: Final[dict["Format", "Callable[[Delivery], dict[str, Any]]"]] = {
    "standard": _standard,
    "slack": _slack,
    "teams": _teams,
}
