"""Settings of the admin API: all errors in one message, without secrets."""

from urllib.parse import parse_qs, urlsplit

import pytest

from admin_api.reported_settings import SettingsError
from admin_api.settings import CounterSettings, DatabaseSettings, Settings
from gateway.settings import Settings as GatewaySettings
from gateway.settings import SettingsError as GatewaySettingsError

GOOD = {
    "LITEMAAS_DATABASE_URL": "postgresql://app:s3cret-password@db:5432/litemaas",
    "LITEMAAS_LITELLM_URLS": "http://one:4000/, https://two:4000",
    "LITEMAAS_LITELLM_API_KEY": "sk-upstream-secret",
    "LITEMAAS_KEY_PEPPERS": "1:" + "0f" * 32,
    "LITEMAAS_SECRET_KEYS": "1:" + "0123456789abcdef" * 4,
    "LITEMAAS_ADMIN_TOKEN": "0123456789abcdef0123456789abcdef",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_lists_are_split_and_a_trailing_slash_of_a_url_is_removed(environment: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().litellm_urls == ("http://one:4000", "https://two:4000")


def test_all_missing_settings_are_named_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SettingsError) as caught:
        Settings.from_env()

    assert all(f"{name}: is not set (" in str(caught.value) for name in GOOD)
    assert "LITEMAAS_SECRET_KEYS: is not set (1:<64 hex digits>" in str(caught.value)


def test_an_invalid_setting_is_named_without_its_value(environment: pytest.MonkeyPatch) -> None:
    wrong = {
        "LITEMAAS_DATABASE_URL": "mysql://u:hidden1@db/x",
        "LITEMAAS_KEY_PEPPERS": "1:hidden2",
        "LITEMAAS_SECRET_KEYS": "1:hidden7",
        "LITEMAAS_ADMIN_TOKEN": "hidden3",
        "LITEMAAS_LITELLM_URLS": "hidden4",
        "LITEMAAS_MODEL_SYNC_INTERVAL_S": "hidden5",
        "LITEMAAS_GATEWAY_URL": "hidden6",
        "LITEMAAS_GATEWAY_INTERNAL_URL": "hidden8",
    }
    for name, value in wrong.items():
        environment.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        Settings.from_env()

    assert all(name in str(caught.value) for name in wrong)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "token", ["a" * 64, "changeme-changeme-changeme-changeme", "your-admin-token-of-32-characters", "short"]
)
def test_a_placeholder_token_is_refused(environment: pytest.MonkeyPatch, token: str) -> None:
    environment.setenv("LITEMAAS_ADMIN_TOKEN", token)

    with pytest.raises(SettingsError, match="LITEMAAS_ADMIN_TOKEN"):
        Settings.from_env()


def test_printed_settings_show_no_secret(environment: pytest.MonkeyPatch) -> None:
    shown = repr(Settings.from_env())

    assert not any(secret in shown for secret in ("s3cret", "sk-upstream", "0f0f", "0123456789abcdef"))


def test_settings_of_other_programs_are_ignored(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LITEMAAS_WHATEVER", "1")

    assert Settings.from_env().model_sync_interval_s == 300


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://litemaas_app:p@h/x", "litemaas_app"),
        ("postgresql://with%40at:p%40ss@h:1/x", "with@at"),
        ("postgresql:///x?host=/run&user=by_query", "by_query"),
        ("postgresql://two@h1:1,h2:2/x", "two"),
    ],
)
def test_the_app_role_is_the_user_of_the_database_url(environment: pytest.MonkeyPatch, url: str, role: str) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", url)

    assert DatabaseSettings.from_env().app_role == role


def test_a_database_url_without_a_user_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", "postgresql://h/x")

    with pytest.raises(SettingsError, match="names no user"):
        _ = DatabaseSettings.from_env().app_role


@pytest.mark.parametrize(
    "wrong",
    ["app:hidden/rest@db", "app:hidden#rest@db", "app:hidden?rest@db", "app:hidden\u2100rest@db", "app:hidden[rest@db"],
)
@pytest.mark.parametrize("settings", [CounterSettings, Settings, GatewaySettings])
def test_a_password_at_the_end_of_a_url_is_not_shown(
    environment: pytest.MonkeyPatch, settings: type[CounterSettings | Settings | GatewaySettings], wrong: str
) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", f"postgresql://{wrong}:5432/litemaas")
    environment.setenv("LITEMAAS_REDIS_URL", f"redis://{wrong}:6379/0")

    with pytest.raises((SettingsError, GatewaySettingsError)) as caught:
        settings.from_env()

    assert "LITEMAAS_DATABASE_URL: an address as postgresql://" in str(caught.value)
    assert "LITEMAAS_REDIS_URL: an address as redis://" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hidden", "rest"))


@pytest.mark.parametrize(
    "url",
    [
        "postgres://app@db/litemaas",
        "postgresql:///litemaas?host=/run/postgresql&user=app",
        "postgresql://app:s%2Fx@[::1]:5432/litemaas",
        "postgresql://app:x@one:5432,two,[::1]:5433/litemaas?target_session_attrs=read-write",
    ],
)
def test_every_form_of_a_postgres_url_is_accepted(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", url)

    assert DatabaseSettings.from_env().app_role == "app"


@pytest.mark.parametrize("settings", [DatabaseSettings, GatewaySettings])
@pytest.mark.parametrize("hosts", ["one:5432,two,[::1]:5433", "[::1]:5432,two", "one,two"])
@pytest.mark.parametrize("query", ["", "?target_session_attrs=read-write"])
def test_several_hosts_are_read_on_every_python(
    environment: pytest.MonkeyPatch, settings: type[DatabaseSettings | GatewaySettings], hosts: str, query: str
) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", f"postgresql://app:s%2Fx@{hosts}/litemaas{query}")
    environment.setenv("LITEMAAS_REDIS_URL", "redis://valkey")

    url = urlsplit(settings.from_env().database_url.get_secret_value())

    assert (url.scheme, url.netloc, url.path) == ("postgresql", "app:s%2Fx@", "/litemaas")
    assert parse_qs(url.query)["host"] == [hosts]
    assert ("target_session_attrs" in parse_qs(url.query)) == bool(query)


def test_a_password_among_several_hosts_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LITEMAAS_DATABASE_URL", "postgresql://app:hidden/rest@one:5432,two/litemaas")
    environment.setenv("LITEMAAS_OWNER_DATABASE_URL", "postgresql://app:x@one:hidden,two/litemaas")

    with pytest.raises(SettingsError) as caught:
        DatabaseSettings.from_env()

    assert str(caught.value).count("an address as postgresql://") == 2
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey",
        "rediss://:x@[::1]:6380/0",
        "redis+sentinel://one:1,two:2/main",
        "redis+cluster://one",
        "unix:///run/x",
    ],
)
def test_every_form_of_a_redis_url_is_accepted(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("LITEMAAS_REDIS_URL", url)

    assert CounterSettings.from_env().redis_url.get_secret_value() == url
