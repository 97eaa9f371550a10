"""Settings read from the environment: what all groups of settings have in common."""

from typing import Any, Self

from pydantic_settings import BaseSettings, SettingsConfigDict


class EnvSettings(BaseSettings):
    """A field is the variable of its name in capitals, after LITEMAAS_. Each is text, which the field parses."""

    model_config = SettingsConfigDict(
        env_prefix="LITEMAAS_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        # Lists have commas between; none is JSON.
        enable_decoding=False,
        defer_build=True,
    )

    @classmethod
    def read(cls, **given: Any) -> Self:
        """From the environment, except what is given. Raises pydantic.ValidationError."""
        return cls(**given)
