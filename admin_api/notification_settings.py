"""Settings of alerts, webhooks and e-mails."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, PositiveFloat, SecretStr, ValidationInfo, field_validator

from admin_api.reported_settings import ReportedSettings


class NotificationSettings(ReportedSettings):
    """For alerts, webhooks and e-mails."""

    alert_interval_s: PositiveFloat = Field(default=3.0, description="pause between evaluations of usage for alerts")
    webhook_allow_http: bool = Field(default=False, description="allow http:// URLs of webhooks")
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="private networks, separated by commas, that webhooks may be in"
    )
    webhook_ca_file: Path | None = Field(default=None, description="CA of the certificates of webhooks")
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp://user:password@host:587 or smtps://; none: no e-mails"
    )
    smtp_ca_file: Path | None = Field(default=None, description="CA of the mail server's certificate")
    mail_from: str | None = Field(
        default=None, validate_default=True, description="sender of e-mails, as LiteMaaS <litemaas@example.com>"
    )

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_smtp_address(value.get_secret_value()):
            raise ValueError(
                "an address as smtp://user:password@host:587 or smtps://…, and nothing behind it; in user and password "
                "only ASCII, and what is no letter or digit as % and two hex digits, as %2F for /"
            )
        return value

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("smtp_url") is not None and ("@" not in (value or "") or not str(value).isprintable()):
            raise ValueError("an address as LiteMaaS <litemaas@example.com>; LITEMAAS_SMTP_URL needs it")
        return value


def is_smtp_address(text: str) -> bool:
    """Whether an SMTP URL is unambiguous. A / or # in a password would end the host there, and the rest of the password
    would be read as a port and be shown in the error."""
    try:
        url = urlsplit(text)
        has_place = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    credentials = unquote(url.username or "") + unquote(url.password or "")
    return has_place and url.path in ("", "/") and not (url.query or url.fragment) and credentials.isascii()
