"""Holiday: everybody who is in a segment, on the public holidays of a country, year after year."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import holidays
import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns.flows import dates, local
from campaigns.flows.triggers.schedule import Schedule
from campaigns.flows.triggers.segment import segment_choices, segment_name, segment_problems
from crm import geography
from crm.rules.errors import Problem, RuleError

MOST_DAYS = 60  # before or after the holiday


class HolidayConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "holiday", "country": "PL", "segment": "vips", "days": ["Christmas"], "offset": -2, "at": "09:00"}`

    Args:
        days: English names of holidays or parts of them; none for all.
        offset: days after the holiday, negative before it.
        at: "HH:MM" of the account's time zone.
    """

    kind: str = "holiday"
    country: str = ""
    segment: str = ""
    days: list[str] = []
    offset: int = 0
    at: str = "09:00"


@lru_cache(maxsize=1)
def countries() -> tuple[tuple[str, str], ...]:
    """Countries with a calendar: code and name."""
    names = {entity[1]: entity[0] for entity in holidays.registry.COUNTRIES.values()}
    return tuple(
        sorted(
            (
                (code, _spaced(names.get(code, code)))
                for code in holidays.list_supported_countries(include_aliases=False)
            ),
            key=lambda each: each[1],
        )
    )


def _spaced(name: str) -> str:
    """UnitedStates as people write it."""
    return "".join(
        f" {char}" if char.isupper() and at and name[at - 1].islower() else char
        for at, char in enumerate(name)
    )


class HolidayForm(forms.Form):
    segment = forms.ChoiceField(label=gettext_lazy("Start everybody in"), widget=UnfoldAdminSelectWidget)
    country = forms.ChoiceField(
        label=gettext_lazy("Country"), choices=countries, widget=UnfoldAdminSelectWidget
    )
    days = forms.CharField(
        label=gettext_lazy("Holidays"),
        required=False,
        help_text=gettext_lazy("English names or parts of them, with commas between them. Empty: all."),
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "auto"}),
    )
    offset = forms.IntegerField(
        label=gettext_lazy("Days after, with a minus before"),
        required=False,
        min_value=-MOST_DAYS,
        max_value=MOST_DAYS,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-half": ""}),
    )
    at = forms.TimeField(
        label=gettext_lazy("At"),
        initial="09:00",
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time", "data-half": ""}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["segment"].choices = segment_choices()


class Holiday(Schedule):
    """Starts all members of a segment on the holidays of a country's calendar."""

    kind, label, icon, position = "holiday", gettext_lazy("On holidays"), "celebration", 55
    help = gettext_lazy("Start everybody in a segment on the public holidays of a country, every year anew.")
    Config, Form = HolidayConfig, HolidayForm

    def _times(self, config: Any, since: datetime, until: datetime, including: bool) -> Iterator[datetime]:
        offset, zone, clock = timedelta(days=config.offset), geography.account_zone(), dates.clock(config.at)
        slack = timedelta(days=1)
        for day in _between(config, (since - offset - slack).date(), (until - offset + slack).date()):
            at = local.moment(day + offset, clock, zone).astimezone(UTC)
            if since < at <= until or (including and at == since):
                yield at

    def initial(self, config):
        days = config.get("days")
        return {**config, "days": ", ".join(map(str, days)) if isinstance(days, list) else ""}

    def stored(self, cleaned):
        at = cleaned.get("at")
        names = [name.strip() for name in (cleaned.get("days") or "").split(",")]
        found = {
            "segment": cleaned.get("segment"),
            "country": cleaned.get("country"),
            "days": [name for name in names if name],
            "offset": cleaned.get("offset"),
            "at": at.strftime("%H:%M") if isinstance(at, time) else at,
        }
        return {name: value for name, value in found.items() if value}

    def config_problems(self, config):
        found = segment_problems(config.segment)
        if config.country not in dict(countries()):
            return [*found, Problem("country", _("Choose a country."))]
        if abs(config.offset) > MOST_DAYS:
            found.append(Problem("offset", _("At most %d days.") % MOST_DAYS))
        try:
            dates.clock(config.at)
        except RuleError as error:
            found.append(Problem("at", error.message))
        names = " ".join(name for _day, name in _calendar(config.country, 2024)).casefold()
        found += [
            Problem("days", _("The calendar has no “%s”.") % name[:60])
            for name in config.days
            if name.casefold() not in names
        ]
        return found

    def summary(self, config):
        if not config.country:
            return ""
        return _("Everybody in “%(segment)s”, on holidays: %(country)s") % {
            "segment": segment_name(config.segment),
            "country": dict(countries()).get(config.country, config.country),
        }


def _between(config: HolidayConfig, first: date, last: date) -> Iterator[date]:
    """The days of the calendar that are meant, each once, from `first` to `last`."""
    wanted = [name.casefold() for name in config.days]
    seen = None
    for year in range(first.year, last.year + 1):
        for day, name in _calendar(config.country, year):
            meant = not wanted or any(part in name.casefold() for part in wanted)
            if meant and day != seen and first <= day <= last:
                seen = day
                yield day


@lru_cache(maxsize=256)
def _calendar(country: str, year: int) -> tuple[tuple[date, str], ...]:
    """A country's public holidays of one year in their order, with their names."""
    # Always in one language: otherwise names depend on the locale of the process.
    return tuple(sorted(holidays.country_holidays(country, years=year, language="en_US").items()))
