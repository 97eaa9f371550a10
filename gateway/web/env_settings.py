"""Settings read from the environment.

pydantic-settings does this and much more (files, secrets, command lines): importing it took a tenth of a second of each
command.
"""

import os
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

PREFIX: Final = "LITEMAAS_"


class EnvSettings(BaseModel):
    """A field is the variable of its name in capitals, after PREFIX. Each is text, which the field parses."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=True, defer_build=True
    )

    @classmethod
    def read(cls, **given: Any) -> Self:
        """From the environment, except what is given. Raises pydantic.ValidationError."""
        # As on other systems, case does not matter.
        values = {name.upper(): text for name, text in os.environ.items()}  # noqa: TID251  this is the reader
        found = {field: values[name] for field in cls.model_fields if (name := PREFIX + field.upper()) in values}
        return cls.model_validate(found | given)
