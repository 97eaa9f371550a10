"""Settings of the admin API and the CLI, read from the environment.

One class per need, so that a command requires only what it uses: `litemaas migrate` in an init container needs no
LiteLLM key.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
)

from admin_api.encryption import SecretKeys
from admin_api.login_settings import LoginSettings, SessionSettings
from admin_api.notification_settings import NotificationSettings
from admin_api.reported_settings import ReportedSettings, SettingsError
from gateway.domain.keys import Peppers
from gateway.storage.urls import check_redis_url, postgres_url
from gateway.web.listen_address import ListenAddress

MIN_TOKEN_LENGTH: Final = 32
# Of LITEMAAS_METRICS_LISTEN. 9464 is the usual port of Prometheus exporters of OpenTelemetry.
GATEWAY_METRICS_PORT: Final = 9464
ADMIN_METRICS_PORT: Final = 9465
# 32 random hex digits have fewer than 8 different ones once in a million.
MIN_DIFFERENT_CHARACTERS: Final = 8
# Placeholders of examples and templates.
KNOWN_DEFAULTS: Final = ("changeme", "change-me", "change_me", "replace", "example", "placeholder", "your-", "insecure")


def _check_redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


RedisURL = Annotated[SecretStr, AfterValidator(_check_redis_url)]


class DatabaseSettings(ReportedSettings):
    """For every command."""

    database_url: SecretStr = Field(description="Postgres, role of the app")
    owner_database_url: SecretStr | None = Field(default=None, description="Postgres, role of the owner: to migrate")
    database_ca_file: Path | None = Field(default=None, description="CA of Postgres's certificate")
    database_cert_file: Path | None = Field(
        default=None, description="client certificate for a Postgres that asks for one"
    )
    database_key_file: Path | None = Field(
        default=None, description="its private key; none: it is in DATABASE_CERT_FILE"
    )
    operator: str | None = Field(
        default=None, description="who runs the commands, as --as: e-mail address or id of a user, for the audit log"
    )
    pgbouncer: bool = Field(default=False, description="DATABASE_URL is a PgBouncer: no prepared statements")

    @field_validator("database_url", "owner_database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(postgres_url(value.get_secret_value()))

    @property
    def app_role(self) -> str:
        """The user of DATABASE_URL, to whom migrations grant the app's rights. Raises SettingsError without one."""
        address = urlsplit(self.database_url.get_secret_value())
        # The user has no colon, so the last @ and the first colon bound it, also with several hosts.
        credentials, at, _ = address.netloc.rpartition("@")
        user = unquote(credentials.split(":", 1)[0]) if at else ""
        user = user or next(iter(parse_qs(address.query).get("user", [])), "")
        if not user:
            raise SettingsError("LITEMAAS_DATABASE_URL names no user; migrate needs it as the role to grant rights to.")
        return user


class KeySettings(DatabaseSettings):
    """For commands that create keys."""

    key_peppers: SecretStr = Field(
        description="1:<64 hex digits>; more versions after commas, the highest hashes new keys"
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


class UserSettings(DatabaseSettings, SessionSettings):
    """For commands that show sessions."""


class CounterSettings(DatabaseSettings):
    """For commands that read counters."""

    redis_url: RedisURL = Field(description="Redis, for the state of limits")
    redis_ca_file: Path | None = Field(default=None, description="CA of Redis's certificate")
    redis_cert_file: Path | None = Field(default=None, description="client certificate for a Redis that asks for one")
    redis_key_file: Path | None = Field(default=None, description="its private key; none: it is in REDIS_CERT_FILE")


class LiteLLMSettings(DatabaseSettings):
    """For commands that call LiteLLM."""

    litellm_urls: tuple[str, ...] = Field(description="LiteLLM's addresses, separated by commas")
    litellm_api_key: SecretStr = Field(description="key that LiteMaaS sends to LiteLLM")
    litellm_ca_file: Path | None = Field(default=None, description="CA of LiteLLM's certificate")
    litellm_cert_file: Path | None = Field(
        default=None, description="client certificate for a LiteLLM that asks for one"
    )
    litellm_key_file: Path | None = Field(default=None, description="its private key; none: it is in LITELLM_CERT_FILE")

    @field_validator("litellm_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        if not value or not all(str(url).startswith(("http://", "https://")) for url in value):
            raise ValueError("one or more http:// or https:// addresses")
        return value


class SystemSettings(LiteLLMSettings):
    """For the state of the whole system."""

    redis_url: RedisURL | None = Field(default=None, description="Redis, for the state of limits")
    redis_ca_file: Path | None = Field(default=None, description="CA of Redis's certificate")
    redis_cert_file: Path | None = Field(default=None, description="client certificate for a Redis that asks for one")
    redis_key_file: Path | None = Field(default=None, description="its private key; none: it is in REDIS_CERT_FILE")


class SecretSettings(DatabaseSettings):
    """For commands that encrypt stored secrets, and for cookies."""

    secret_keys: SecretStr = Field(
        description="1:<64 hex digits>; more versions after commas: the highest encrypts and signs, all decrypt"
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


class WebhookSettings(SecretSettings, NotificationSettings):
    """For commands that create webhooks."""


class ClickHouseSettings(DatabaseSettings):
    """For usage questions, and for commands that feed ClickHouse."""

    clickhouse_url: SecretStr | None = Field(
        default=None,
        description="ClickHouse, as https://user:password@host:8443/database, which is fed from the ledger; needs the "
        "extra `litemaas[clickhouse]`",
    )
    clickhouse_ca_file: Path | None = Field(default=None, description="CA of ClickHouse's certificate")
    clickhouse_feed_interval_s: PositiveFloat = Field(
        default=5.0, description="pause between runs that send ClickHouse what it lacks"
    )
    clickhouse_answers: bool = Field(
        default=False, description="usage questions are answered from ClickHouse, and from Postgres while it is behind"
    )
    clickhouse_max_lag_s: PositiveFloat = Field(
        default=60.0, description="how far ClickHouse may be behind the ledger to answer usage questions"
    )

    @field_validator("clickhouse_url")
    @classmethod
    def _check_clickhouse_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            if not is_clickhouse_address(value.get_secret_value()):
                raise ValueError(
                    "an address as https://user:password@host:8443/database; in user and password what is no letter or "
                    "digit as % and two hex digits, as %2F for /"
                )
            if find_spec("clickhouse_connect") is None:
                raise ValueError("needs the extra: pip install 'litemaas[clickhouse]'")
        return value


class Settings(KeySettings, SystemSettings, SecretSettings, NotificationSettings, LoginSettings, ClickHouseSettings):
    """For the admin API."""

    admin_token: SecretStr = Field(description="bearer token of the admin API, 32 random characters or more")
    gateway_url: str | None = Field(default=None, description="public address of the gateway, as users call it")
    gateway_internal_url: str | None = Field(
        default=None, description="address of the gateway for the playground of the portal; none: GATEWAY_URL"
    )
    gateway_ca_file: Path | None = Field(default=None, description="CA of the gateway's certificate")
    shutdown_delay_s: NonNegativeFloat = Field(
        default=0.0,
        description="how long a program that is to end still takes calls while it is not ready: longer than the "
        "load balancer takes to notice; 0: where it knows before, as by Kubernetes' preStop",
    )
    admin_pool_size: PositiveInt = Field(default=10, description="connections to Postgres of the admin API")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="minimum level logged")
    model_sync_interval_s: NonNegativeFloat = Field(default=300.0, description="pause between model syncs; 0: none")
    metrics_teams: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="teams whose use of their limits is a metric, by name: those nearest to one of them; 0: none",
    )

    @field_validator("admin_token")
    @classmethod
    def _check_admin_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if len(token) < MIN_TOKEN_LENGTH or not token.isascii():
            raise ValueError(f"{MIN_TOKEN_LENGTH} random ASCII characters or more")
        if len(set(token)) < MIN_DIFFERENT_CHARACTERS or any(word in token.lower() for word in KNOWN_DEFAULTS):
            raise ValueError("looks like a default from an example; make a random one: openssl rand -hex 32")
        return value

    @field_validator("gateway_url", "gateway_internal_url")
    @classmethod
    def _check_gateway_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an http:// or https:// address")
        return value.rstrip("/") if value else None


class ProgramSettings(ReportedSettings):
    """How `litemaas gateway` and `litemaas admin-api` run their server."""

    shutdown_grace_s: PositiveInt = Field(default=600, description="maximum time for open answers at shutdown")
    keep_alive_s: PositiveInt = Field(
        default=75, description="how long an idle connection stays open; more than the load balancer keeps it"
    )
    metrics_listen: str = Field(
        default="127.0.0.1",
        description="address where `GET /metrics` is served without login, as 0.0.0.0 or 10.0.0.5:9464; or off. Port "
        f"{GATEWAY_METRICS_PORT} of the gateway and {ADMIN_METRICS_PORT} of the admin API, if it names none",
    )

    @field_validator("metrics_listen")
    @classmethod
    def _check_metrics_listen(cls, value: str) -> str:
        ListenAddress.parse(value)
        return value


class PresentSettings(ReportedSettings):
    """What says for which programs an environment is: the admin API needs a token, a gateway a folder."""

    admin_token: SecretStr | None = None
    state_dir: Path | None = None


def is_clickhouse_address(text: str) -> bool:
    """Whether it is unambiguous, as is_smtp_address says of an SMTP URL."""
    try:
        url = urlsplit(text)
        has_place = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    database = url.path.strip("/")
    return has_place and not (url.query or url.fragment or "/" in database or "@" in database)
