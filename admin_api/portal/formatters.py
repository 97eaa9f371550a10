"""How every number, amount, date and time of a page is written, by language and time zone."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from babel import dates, numbers, units
from markupsafe import Markup

from admin_api.portal.languages import locale
from gateway.domain.money import NANO_USD

# An amount is exact: two decimals at least, and what more it has down to one nano-USD.
MONEY_DECIMALS: Final = "00#######"


@dataclass(frozen=True, slots=True)
class Formats:
    """For one language and one time zone. Amounts are shown in `currency` as well, of which a US dollar is `rate`."""

    language: str
    zone: str
    currency: str | None = None
    rate: Decimal | None = None

    def number(self, value: int | Decimal | float) -> str:
        """With the separators of the language: `1,234`, `1.234`, `1 234`."""
        return str(numbers.format_decimal(value, locale=locale(self.language)))

    def percent(self, share: float) -> str:
        """Of a share: 0.42 is `42%`."""
        return str(numbers.format_percent(share, locale=locale(self.language)))

    def usd(self, amount: Decimal | str) -> str:
        """An amount of US dollars, exactly; beside it about what it is in the currency that is shown."""
        exact = self._exact_usd(amount)
        if self.currency is None or self.rate is None:
            return exact
        about = numbers.format_currency(
            Decimal(amount) * self.rate, self.currency, locale=locale(self.language), currency_digits=True
        )
        return f"{exact} (≈ {about})"

    def _exact_usd(self, amount: Decimal | str) -> str:
        pattern = locale(self.language).currency_formats["standard"].pattern.split(";")[0]
        pattern = pattern.replace("0.00", f"0.{MONEY_DECIMALS}")
        return str(
            numbers.format_currency(
                Decimal(amount), "USD", format=pattern, locale=locale(self.language), currency_digits=False
            )
        )

    def nano_usd(self, amount: int) -> str:
        """Whole nano-USD as US dollars, exactly."""
        return self.usd(Decimal(amount) / NANO_USD)

    def seconds(self, value: float) -> str:
        """A short time, to the hundredth: `0.35 s`."""
        return str(units.format_unit(round(value, 2), "second", length="short", locale=locale(self.language)))

    def day(self, value: date) -> str:
        """A calendar day: `29 Nov 2026`."""
        return str(dates.format_date(value, format="medium", locale=locale(self.language)))

    def month(self, value: date) -> str:
        """`November 2026`."""
        return str(dates.format_skeleton("yMMMM", value, locale=locale(self.language)))

    def moment(self, value: datetime) -> str:
        """To the second, in the time zone of the page, which the page names."""
        return str(dates.format_datetime(value, format="medium", tzinfo=self._zone, locale=locale(self.language)))

    def time(self, value: datetime) -> Markup:
        """As `moment`, as an element of HTML that holds the moment itself too."""
        return Markup('<time datetime="{}">{}</time>').format(value.astimezone(UTC).isoformat(), self.moment(value))

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)
