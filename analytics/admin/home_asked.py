"""What the home is asked to show: kept in its address, so that a link or a bookmark shows the same."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

TODAY = "today"
DAYS = {TODAY: 0, "7": 7, "30": 30, "90": 90}
MEASURES = {
    "sent": gettext_lazy("Sent"),
    "opened": gettext_lazy("Openings"),
    "clicked": gettext_lazy("Clicks"),
    "converted": gettext_lazy("Conversions"),
    "revenue": gettext_lazy("Revenue"),
    "unsubscribed": gettext_lazy("Unsubscribes"),
}
RANKINGS = {
    "revenue": gettext_lazy("Revenue"),
    "clicks": gettext_lazy("Clicks"),
    "leaving": gettext_lazy("Unsubscribes"),
}


class Choice(msgspec.Struct):
    """One thing to choose: where it leads, and whether it is chosen."""

    key: str
    label: str
    address: str
    chosen: bool


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to show. `by` is empty where it depends on the figures what messages are ranked by."""

    period: str = "30"
    show: str = "sent"
    by: str = ""
    machines: bool = False

    @property
    def days(self) -> int:
        """Of the period; 0 for today by hour."""
        return DAYS[self.period]

    @property
    def label(self) -> str:
        if not self.days:
            return _("Today")
        return ngettext("Last %d day", "Last %d days", self.days) % self.days

    def address(self, **changes: Any) -> str:
        """The query of the same home with something else chosen; what is usual is left out."""
        one = msgspec.structs.replace(self, **changes)
        usual = Asked()
        values = {
            name: int(value) if isinstance(value, bool) else value
            for name, value in msgspec.structs.asdict(one).items()
            if value != getattr(usual, name)
        }
        return "?" + urlencode(values)

    @property
    def switched(self) -> str:
        """The address with machines counted if they are not, and the other way round."""
        return self.address(machines=not self.machines)

    def periods(self) -> list[Choice]:
        """The periods to choose from."""
        labels = {key: ngettext("%d day", "%d days", days) % days for key, days in DAYS.items() if days}
        labels = {TODAY: _("Today"), **labels}
        return [
            Choice(key, text, self.address(period=key), key == self.period) for key, text in labels.items()
        ]

    def measures(self) -> list[Choice]:
        """What the chart can show."""
        return [
            Choice(key, str(text), self.address(show=key), key == self.show) for key, text in MEASURES.items()
        ]

    def rankings(self, by: str) -> list[Choice]:
        """What messages can be ranked by; `by` is what they are."""
        return [Choice(key, str(text), self.address(by=key), key == by) for key, text in RANKINGS.items()]


def read(request: HttpRequest) -> Asked:
    """What the address asks for; whatever can't be shown is as usual."""
    given = request.GET
    usual = Asked()
    return Asked(
        period=_one_of(given.get("period"), DAYS, usual.period),
        show=_one_of(given.get("show"), MEASURES, usual.show),
        by=_one_of(given.get("by"), RANKINGS, ""),
        machines=given.get("machines") == "1",
    )


def _one_of(value: str | None, choices: Any, usual: str) -> str:
    return value if value in choices else usual
