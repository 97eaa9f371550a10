"""The control plane's settings: the only reader of its environment.

In layers, so that a command asks only for what it uses: `litemaas migrate` in an init container needs no key of
LiteLLM's.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from admin_api.encryption import SecretKeys
from admin_api.login_settings import LoginSettings
from gateway.domain.keys import Peppers
from gateway.storage.urls import check_postgres_url, check_redis_url

MIN_TOKEN_LENGTH: Final = 32
# 32 random hex digits have fewer than 8 different ones once in a million; "aaaa…" has one.
MIN_DIFFERENT_CHARACTERS: Final = 8
# What examples and templates put where a secret belongs.
KNOWN_DEFAULTS: Final = ("changeme", "change-me", "change_me", "replace", "example", "placeholder", "your-", "insecure")


class SettingsError(Exception):
    """What is missing or wrong, all in one message, no value of a secret in it."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LITEMAAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def from_env(cls) -> Self:
        """Reads the environment; raises SettingsError naming everything that is missing or wrong."""
        try:
            return cls.model_validate({})
        except ValidationError as exc:
            raise SettingsError(explain(exc, cls)) from None


class DatabaseSettings(_Settings):
    """What every command needs."""

    database_url: SecretStr = Field(description="Postgres, role of the app")
    owner_database_url: SecretStr | None = Field(default=None, description="Postgres, role of the owner: to migrate")
    database_ca_file: Path | None = Field(default=None, description="CA of Postgres's certificate")
    pgbouncer: bool = Field(default=False, description="DATABASE_URL is a PgBouncer: no prepared statements")

    @field_validator("database_url", "owner_database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_postgres_url(value.get_secret_value())
        return value

    @property
    def app_role(self) -> str:
        """The user of DATABASE_URL, whom migrations give the app's rights; raises SettingsError if it names none."""
        address = urlsplit(self.database_url.get_secret_value())
        # The user may hold no colon, so the last @ and the first colon bound it, also with several hosts.
        credentials, at, _ = address.netloc.rpartition("@")
        user = unquote(credentials.split(":", 1)[0]) if at else ""
        user = user or next(iter(parse_qs(address.query).get("user", [])), "")
        if not user:
            raise SettingsError("LITEMAAS_DATABASE_URL names no user; migrate needs it as the role to give rights to.")
        return user


class KeySettings(DatabaseSettings):
    """For commands that make keys."""

    key_peppers: SecretStr = Field(
        description="1:<64 hex digits>; more versions after commas, the highest makes new keys"
    )

    @field_validator("key_peppers")
    @classmethod
    def _check_peppers(cls, value: SecretStr) -> SecretStr:
        Peppers.parse(value.get_secret_value())
        return value

    @property
    def peppers(self) -> Peppers:
        """KEY_PEPPERS, parsed."""
        return Peppers.parse(self.key_peppers.get_secret_value())


class CounterSettings(DatabaseSettings):
    """For commands that look at counters."""

    redis_url: SecretStr = Field(description="Redis, for what is left of a limit")
    redis_ca_file: Path | None = Field(default=None, description="CA of Redis's certificate")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value


class LiteLLMSettings(DatabaseSettings):
    """For commands that ask LiteLLM what it serves."""

    litellm_urls: Annotated[tuple[str, ...], NoDecode] = Field(description="LiteLLM's addresses, commas between")
    litellm_api_key: SecretStr = Field(description="the key LiteLLM takes from LiteMaaS")
    litellm_ca_file: Path | None = Field(default=None, description="CA of LiteLLM's certificate")

    @field_validator("litellm_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        if not value or not all(str(url).startswith(("http://", "https://")) for url in value):
            raise ValueError("one or more http:// or https:// addresses")
        return value


class SecretSettings(DatabaseSettings):
    """For what seals secrets that must be read back, and signs cookies."""

    secret_keys: SecretStr = Field(
        description="1:<64 hex digits>; more versions after commas: the highest seals and signs, all open"
    )

    @field_validator("secret_keys")
    @classmethod
    def _check_secret_keys(cls, value: SecretStr) -> SecretStr:
        SecretKeys.parse(value.get_secret_value())
        return value

    @property
    def encryption_keys(self) -> SecretKeys:
        """SECRET_KEYS, parsed."""
        return SecretKeys.parse(self.secret_keys.get_secret_value())


class NotificationSettings(_Settings):
    """When people are told, and how it reaches them."""

    alert_interval_s: PositiveFloat = Field(default=3.0, description="pause between looks at what was used")
    webhook_allow_http: bool = Field(default=False, description="webhooks may lead to http:// too")
    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(), description="private networks, commas between, that webhooks may lead to"
    )
    webhook_ca_file: Path | None = Field(default=None, description="CA of the receivers' certificates")
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


class WebhookSettings(SecretSettings, NotificationSettings):
    """For commands that make webhooks: what seals their secrets, and where they may lead."""


class Settings(KeySettings, LiteLLMSettings, SecretSettings, NotificationSettings, LoginSettings):
    """The admin API's own."""

    admin_token: SecretStr = Field(description="bearer token of the admin API, 32 random characters or more")
    gateway_url: str | None = Field(default=None, description="public address of the gateway, as users call it")
    redis_url: SecretStr | None = Field(default=None, description="Redis, for what is left of a limit")
    redis_ca_file: Path | None = Field(default=None, description="CA of Redis's certificate")
    admin_pool_size: PositiveInt = Field(default=10, description="connections to Postgres of the admin API")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    model_sync_interval_s: NonNegativeFloat = Field(default=300.0, description="pause between model syncs; 0: none")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_redis_url(value.get_secret_value())
        return value

    @field_validator("admin_token")
    @classmethod
    def _check_admin_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if len(token) < MIN_TOKEN_LENGTH or not token.isascii():
            raise ValueError(f"{MIN_TOKEN_LENGTH} random ASCII characters or more")
        if len(set(token)) < MIN_DIFFERENT_CHARACTERS or any(word in token.lower() for word in KNOWN_DEFAULTS):
            raise ValueError("looks like a default from an example; make a random one: openssl rand -hex 32")
        return value

    @field_validator("gateway_url")
    @classmethod
    def _check_gateway_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an http:// or https:// address")
        return value.rstrip("/") if value else None


class ProgramSettings(_Settings):
    """How `litemaas gateway` and `litemaas admin-api` run their server."""

    shutdown_grace_s: PositiveInt = Field(default=30, description="how long open answers may take at shutdown")


def is_smtp_address(text: str) -> bool:
    """Whether it can be read in one way only. A / or # in a password would end the address there, and what is left of
    the password would be taken for a port, and told in the error about it."""
    try:
        url = urlsplit(text)
        has_place = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    credentials = unquote(url.username or "") + unquote(url.password or "")
    return has_place and url.path in ("", "/") and not (url.query or url.fragment) and credentials.isascii()


def explain(error: ValidationError, settings: type[BaseSettings]) -> str:
    """One line a setting, without its value: it may be a secret. Of one that is missing, what it is."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "LITEMAAS_" + "_".join(str(part) for part in problem["loc"]).upper()
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            said = f"is not set ({settings.model_fields[str(problem['loc'][0])].description})"
        # What several settings must be together has no name of its own.
        lines.append(f"  {name}: {said}" if problem["loc"] else f"  {said}")
    return "These settings are missing or wrong:\n" + "\n".join(sorted(lines))
