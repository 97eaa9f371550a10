"""JSON of provider keys, without their secrets."""

from datetime import datetime
from typing import TYPE_CHECKING, Self

from admin_api.operations.models.provider_keys import variable_of
from admin_api.schemas.shapes import View

if TYPE_CHECKING:
    from admin_api.storage.provider_keys import ProviderKey


class ProviderKeyView(View):
    """A provider key without its secret. LiteLLM's configuration names it by `reference`."""

    name: str
    provider: str
    last_four: str
    reference: str
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime

    @classmethod
    def of(cls, row: "ProviderKey") -> Self:
        """One key."""
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "reference"}
        return cls(**fields, reference=f"os.environ/{variable_of(row.name)}")
