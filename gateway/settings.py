"""The gateway's settings: the only reader of its environment. docs/settings.md is generated from it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)

from gateway.domain.keys import Peppers
from gateway.endpoints.allowed_fields import parse_opened
from gateway.storage.urls import check_redis_url, postgres_url
from gateway.web.addresses import parse_networks
from gateway.web.cors import ANY, parse_origins
from gateway.web.tls_settings import TlsSettings

# Of the extra `otel`.
TRACE_PACKAGES: Final = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")


class SettingsError(Exception):
    """What is missing or wrong, all in one message, no value of a secret in it."""


class Settings(TlsSettings):
    """`LITEMAAS_…` variables."""

    database_url: SecretStr = Field(description="Postgres, role of the app")
    listen_database_url: SecretStr | None = Field(
        None, description="Postgres for notifications, where DATABASE_URL is a PgBouncer"
    )
    database_ca_file: Path | None = Field(None, description="CA of Postgres's certificate")
    database_cert_file: Path | None = Field(None, description="client certificate for a Postgres that asks for one")
    database_key_file: Path | None = Field(None, description="its private key; none: it is in DATABASE_CERT_FILE")
    database_pool_size: PositiveInt = Field(5, description="connections to Postgres a worker")
    pgbouncer: bool = Field(False, description="DATABASE_URL is a PgBouncer: no prepared statements")
    redis_url: SecretStr = Field(
        description="redis://, redis+sentinel://host:port,…/primary or redis+cluster://host:port; with rediss for TLS"
    )
    redis_ca_file: Path | None = Field(None, description="CA of Redis's certificate")
    redis_cert_file: Path | None = Field(None, description="client certificate for a Redis that asks for one")
    redis_key_file: Path | None = Field(None, description="its private key; none: it is in REDIS_CERT_FILE")
    redis_timeout_s: PositiveFloat = Field(2.0, description="longest wait for Redis's answer")
    litellm_urls: tuple[str, ...] = Field(description="LiteLLM's addresses, commas between")
    litellm_api_key: SecretStr = Field(description="the key LiteLLM takes from the gateway")
    litellm_ca_file: Path | None = Field(None, description="CA of LiteLLM's certificate")
    litellm_cert_file: Path | None = Field(None, description="client certificate for a LiteLLM that asks for one")
    litellm_key_file: Path | None = Field(None, description="its private key; none: it is in LITELLM_CERT_FILE")
    key_peppers: SecretStr = Field(
        description="1:<64 hex digits>; more versions after commas, the highest makes new keys"
    )
    state_dir: Path = Field(Path("./state"), description="folder of the workers' journals; keep it across restarts")
    when_limits_unavailable: Literal["deny", "allow", "local"] = Field(
        "deny",
        description="with Redis away: refuse with 503; or forward and count in the ledger only; or go on with each "
        "worker's share of what is left of the limits",
    )
    keys_grace_s: PositiveFloat = Field(900.0, description="how long known keys work while Postgres is away")
    connect_timeout_s: PositiveFloat = Field(5.0, description="longest wait for a connection to LiteLLM")
    first_byte_timeout_s: PositiveFloat = Field(600.0, description="longest wait for an answer's first byte")
    idle_timeout_s: PositiveFloat = Field(600.0, description="longest silence within an answer")
    read_on_s: NonNegativeFloat = Field(
        10.0,
        description="how long the answer of a caller who left is read on, to its usage, where it may hold reasoning "
        "that callers are not shown; the call keeps its slot so long. 0: it is cancelled at once",
    )
    ping_after_s: NonNegativeFloat = Field(
        0.0,
        description="seconds of silence within a stream after which a comment is sent, so that load balancers keep it "
        "open, and again after as many; 0: none",
    )
    pings_before_answer: bool = Field(
        False,
        description="pings also before the model has answered at all: its refusal is an event then, under status 200",
    )
    trusted_proxies: str = Field(
        "",
        description="comma-separated addresses or networks whose X-Forwarded-For is trusted",
    )
    gateway_cors_origins: tuple[str, ...] = Field(
        (), description="origins, commas between, whose pages may call the gateway from a browser; *: of every origin"
    )
    paid_tool_uses: int = Field(
        10,
        ge=0,
        le=10_000,
        description="uses reserved of a tool of the provider with a fee, if the caller sets no maximum",
    )
    attachment_tokens: PositiveInt | None = Field(
        None,
        description="most tokens of an attachment, or of what a tool of the provider finds; unset: calls with them "
        "are refused under cost limits that reserve the maximum",
    )
    allowed_fields: str = Field(
        "",
        description="fields that callers may send beside those that are listed: endpoint:name, commas between; "
        "endpoint:unsafe:name where docs/endpoints.md warns of it",
    )
    max_body_bytes: PositiveInt = Field(32 * 1024 * 1024, description="largest request body, unpacked")
    max_upload_bytes: PositiveInt = Field(
        128 * 1024 * 1024, description="largest upload of sound; it is kept on disk in STATE_DIR while it is sent on"
    )
    token_counts_per_minute: NonNegativeInt = Field(
        1000, description="how often a key may have tokens counted in a minute, beside its limits; 0: without a bound"
    )
    session_max_s: PositiveFloat = Field(3600.0, description="longest realtime session; then it is closed")
    max_message_bytes: PositiveInt = Field(
        4 * 1024 * 1024, le=16 * 1024 * 1024, description="largest message of a realtime session; LiteLLM takes 16 MiB"
    )
    max_body_bytes_in_flight: PositiveInt = Field(
        512 * 1024 * 1024, description="bodies of all calls of a worker together; more: 503 overloaded"
    )
    upstream_connections: PositiveInt = Field(1000, description="connections to LiteLLM a worker")
    shutdown_delay_s: NonNegativeFloat = Field(
        0.0,
        description="how long a program that is to end still takes calls while it is not ready: longer than the "
        "load balancer takes to notice; 0: where it knows before, as by Kubernetes' preStop",
    )
    drain_timeout_s: PositiveFloat = Field(10.0, description="how long settlements may take at shutdown")
    journal_max_bytes: PositiveInt = Field(
        1024**3, description="most bytes a worker keeps in its journal while Postgres is away"
    )
    journal_keep_s: NonNegativeFloat = Field(
        3600.0,
        description="how long rows that Postgres has stay on disk, within LITEMAAS_JOURNAL_MAX_BYTES: they are written "
        "again where a replica was promoted without them, or a backup restored; 0: not",
    )
    usage_retention_months: NonNegativeInt = Field(
        0, description="whole months of usage rows kept besides the current one; 0: all. Sums are kept for ever"
    )
    response_owners_days: int = Field(
        30, ge=1, le=3650, description="days for which it is known whose a stored response is; then it answers 404"
    )
    metrics_models: int = Field(
        100, ge=0, le=1000, description="models that metrics name, the oldest first; all others are `other`"
    )
    traces_url: str | None = Field(
        None,
        description="where OpenTelemetry traces go by OTLP over HTTP, as http://collector:4318/v1/traces; needs the "
        "extra `otel`, which the image has",
    )
    traces_share: float = Field(
        1.0, ge=0, le=1, description="share of calls that are traced; with a `traceparent`, the caller says whether"
    )
    access_log: bool = Field(True, description="a line of JSON for each answered call on standard output; or off")
    prometheus_multiproc_dir: str | None = Field(
        None, validation_alias="PROMETHEUS_MULTIPROC_DIR", description="set by `litemaas gateway` for several workers"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum level logged")

    @field_validator("database_url", "listen_database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(postgres_url(value.get_secret_value()))

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value

    @field_validator("litellm_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        if not value or not all(str(url).startswith(("http://", "https://")) for url in value):
            raise ValueError("one or more http:// or https:// addresses")
        if any("@" in urlsplit(str(url)).netloc for url in value):
            raise ValueError("without a user and password: LiteLLM takes LITEMAAS_LITELLM_API_KEY")
        return value

    @field_validator("key_peppers")
    @classmethod
    def _check_peppers(cls, value: SecretStr) -> SecretStr:
        Peppers.parse(value.get_secret_value())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value

    @field_validator("gateway_cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return (ANY,) if value.strip() == ANY else parse_origins(value)

    @field_validator("allowed_fields")
    @classmethod
    def _check_allowed_fields(cls, value: str) -> str:
        parse_opened(value)
        return value

    @field_validator("traces_url")
    @classmethod
    def _check_traces_url(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not value.startswith(("http://", "https://")) or "@" in urlsplit(value).netloc:
            raise ValueError("an http:// or https:// address without a user and password (OTEL_EXPORTER_OTLP_HEADERS)")
        if any(find_spec(name) is None for name in TRACE_PACKAGES):
            raise ValueError("needs the packages of OpenTelemetry: pip install 'litemaas[otel]'")
        return value

    @classmethod
    def from_env(cls) -> Self:
        """Reads the environment; raises SettingsError naming everything that is missing or wrong."""
        try:
            return cls.read()
        except ValidationError as exc:
            raise SettingsError(explain(exc)) from None


def explain(error: ValidationError) -> str:
    """One line a setting, without its value: it may be a secret."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "LITEMAAS_" + "_".join(str(part) for part in problem["loc"]).upper()
        said = "is not set" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        # A rule about several settings names them itself.
        lines.append(f"  {name}: {said}" if problem["loc"] else f"  {said}")
    return "These settings are missing or wrong:\n" + "\n".join(sorted(lines))
