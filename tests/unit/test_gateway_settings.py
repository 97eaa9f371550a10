"""Settings of the gateway that are refused at the start."""

import pytest

from gateway.settings import Settings, SettingsError


def test_an_address_of_litellm_has_no_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to such an address failed: the gateway sends LiteLLM's key itself."""
    monkeypatch.setenv("LITEMAAS_LITELLM_URLS", "http://one:4000, https://somebody:hunter2@two:4000")

    with pytest.raises(SettingsError) as raised:
        Settings.from_env()

    assert "LITEMAAS_LITELLM_URLS" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("value", ["http://one:4000", "http://one:4000,https://two/path@v1"])
def test_addresses_of_litellm_are_accepted(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEMAAS_LITELLM_URLS", value)

    with pytest.raises(SettingsError) as raised:
        Settings.from_env()  # the others are missing

    assert "LITELLM_URLS" not in str(raised.value)
