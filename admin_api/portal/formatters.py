"""How every number, amount, date and time of a page is written, by language and time zone."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from babel import dates, numbers, units
from markupsafe import Markup

from admin_api.portal.digits import write_nano_usd, write_number, write_usd
from admin_api.portal.languages import locale
from admin_api.schemas.value_texts import MOMENT
from gateway.domain.money import NANO_USD
from gateway.domain.rollup_ranges import Step

CENTS: Final = 100
# As operations and the gateway write it in sentences.
USD: Final = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?) USD\b")


@dataclass(frozen=True, slots=True)
class Formats:
    """For one language and one time zone. Amounts are shown in `currency` as well, of which a US dollar is `rate`."""

    language: str
    zone: str
    currency: str | None = None
    rate: Decimal | None = None

    def number(self, value: int | Decimal | float) -> str:
        """With the separators of the language: `1,234`, `1.234`, `1 234`."""
        if isinstance(value, int):
            return write_number(self.language, value)
        return str(numbers.format_decimal(value, locale=locale(self.language)))

    def percent(self, share: float) -> str:
        """Of a share: 0.42 is `42%`."""
        return str(numbers.format_percent(share, locale=locale(self.language)))

    def compact(self, value: int) -> str:
        """Short, for an axis: `1.2M`."""
        return str(numbers.format_compact_decimal(value, locale=locale(self.language), fraction_digits=1))

    def change(self, share: float) -> str:
        """As `percent`, with its sign: `+42%`."""
        return f"+{self.percent(share)}" if share > 0 else self.percent(share)

    def milliseconds(self, value: float) -> str:
        """`420 ms`, which no line breaks."""
        return f"{self.number(round(value))}\N{NO-BREAK SPACE}ms"

    def usd(self, amount: Decimal | str) -> str:
        """An amount of US dollars, exactly; beside it about what it is in the currency that is shown."""
        given = Decimal(amount)
        nano_usd = given * NANO_USD
        if nano_usd == nano_usd.to_integral_value():
            return self.nano_usd(int(nano_usd))
        return self._beside(given, write_usd(self.language, given))

    def nano_usd(self, amount: int) -> str:
        """Whole nano-USD as US dollars, exactly, and as `usd`."""
        exact = write_nano_usd(self.language, amount)
        return exact if self.currency is None else self._beside(Decimal(amount) / NANO_USD, exact)

    def _beside(self, amount: Decimal, exact: str) -> str:
        if self.currency is None or self.rate is None:
            return exact
        about = numbers.format_currency(
            amount * self.rate, self.currency, locale=locale(self.language), currency_digits=True
        )
        return f"{exact} (~ {about})"

    def estimated_usd(self, amount: int) -> str:
        """Whole nano-USD that are a forecast, as US dollars, rounded up to cents."""
        return self.usd(Decimal(-(-amount * CENTS // NANO_USD)) / CENTS)

    def seconds(self, value: float) -> str:
        """A short time, to the hundredth: `0.35 s`."""
        return str(units.format_unit(round(value, 2), "second", length="short", locale=locale(self.language)))

    def day(self, value: date) -> str:
        """A calendar day: `29 Nov 2026`."""
        return str(dates.format_date(value, format="medium", locale=locale(self.language)))

    def month(self, value: date) -> str:
        """`November 2026`."""
        return str(dates.format_skeleton("yMMMM", value, locale=locale(self.language)))

    def step(self, value: datetime, step: Step) -> str:
        """Of a series in the time zone of the page: the moment of an hour, else the first day, or the month."""
        if step == "hour":
            return self.moment(value)
        local = value.astimezone(self._zone).date()
        return self.month(local) if step == "month" else self.day(local)

    def short_step(self, value: datetime, step: Step) -> str:
        """The same, for an axis: `14:00`, `29 Nov`, `Nov`."""
        skeleton = {"hour": "Hm", "month": "MMM"}.get(step, "MMMd")
        local = value.astimezone(self._zone)
        return str(dates.format_skeleton(skeleton, local, tzinfo=self._zone, locale=locale(self.language)))

    def local(self, value: datetime) -> datetime:
        """In the time zone of the page."""
        return value.astimezone(self._zone)

    def hour(self, number: int) -> str:
        """An hour of the day: `14:00`."""
        return _hour(self.language, number)

    def weekday(self, number: int) -> str:
        """`Mon` for 1."""
        return str(dates.get_day_names("abbreviated", locale=locale(self.language))[number - 1])

    def moment(self, value: datetime) -> str:
        """To the second, in the time zone of the page, which the page names."""
        return str(dates.format_datetime(value, format="medium", tzinfo=self._zone, locale=locale(self.language)))

    def sentence(self, text: str) -> str:
        """What was written for programs, with its times and amounts as people of the page read them."""
        return self.amounts_in(self.times_in(text))

    def times_in(self, text: str) -> str:
        """A text with its times as in `moment`."""
        return MOMENT.sub(lambda found: self.moment(datetime.fromisoformat(found[0])), text)

    def amounts_in(self, text: str) -> str:
        """A text with its amounts as in `usd`."""
        return USD.sub(lambda found: self.usd(found[1]), text)

    def time(self, value: datetime) -> Markup:
        """As `moment`, as an element of HTML that holds the moment itself too."""
        return Markup('<time datetime="{}">{}</time>').format(value.astimezone(UTC).isoformat(), self.moment(value))

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


@cache
def _hour(language: str, number: int) -> str:
    return str(dates.format_skeleton("Hm", time(number), locale=locale(language)))
