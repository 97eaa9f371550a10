"""What all settings of the admin API and the CLI have in common: their faults, in one message."""

from typing import Self

from pydantic import ValidationError

from gateway.web.env_settings import EnvSettings
from gateway.web.tls_settings import TlsSettings


class SettingsError(Exception):
    """All settings that are missing or not valid, in one message without values of secrets."""


class ReportedSettings(TlsSettings):
    """Read with all faults in one message."""

    @classmethod
    def from_env(cls) -> Self:
        """Reads the environment. Raises SettingsError, which names all settings that are missing or not valid."""
        try:
            return cls.read()
        except ValidationError as exc:
            raise SettingsError(explain(exc, cls)) from None


def explain(error: ValidationError, settings: type[EnvSettings]) -> str:
    """One line for each setting, without its value, which may be a secret; a missing one with its description."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = "LITEMAAS_" + "_".join(str(part) for part in problem["loc"]).upper()
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            said = f"is not set ({settings.model_fields[str(problem['loc'][0])].description})"
        # A rule about several settings names none.
        lines.append(f"  {name}: {said}" if problem["loc"] else f"  {said}")
    return "These settings are missing or wrong:\n" + "\n".join(sorted(lines))
