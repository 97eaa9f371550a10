"""What admins have set for all pages to show: a banner, and a currency besides US dollars."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from admin_api.operations.runtime_settings import read_settings
from admin_api.storage.users import LOCALES

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# In this language texts are shown that another one does not have.
COMMON: Final = "en"


@dataclass(frozen=True, slots=True)
class Display:
    """`rate` is how much of `currency` (ISO 4217) a US dollar is; both are None: amounts are US dollars alone."""

    banners: Mapping[str, str | None]
    currency: str | None
    rate: Decimal | None

    def banner(self, language: str) -> str | None:
        """In this language, else in English."""
        return self.banners.get(language) or self.banners.get(COMMON)


NOTHING: Final = Display(banners={}, currency=None, rate=None)


async def read_display(pool: "Pool") -> Display:
    """For everybody who has logged in."""
    async with pool.acquire() as connection:
        settings = await read_settings(connection)
    rate = settings.display_currency_rate
    return Display(
        banners={language: getattr(settings, f"banner_{language}") for language in LOCALES},
        currency=settings.display_currency,
        rate=None if rate is None else Decimal(rate),
    )
