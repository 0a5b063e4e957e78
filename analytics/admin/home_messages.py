"""The home's best and worst messages."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.admin.home_asked import Asked
from analytics.admin.home_cards import Card, share
from analytics.reports import ranking
from analytics.reports.definitions import DEFINITIONS, Figures
from analytics.reports.overview import Home
from analytics.written import count, money
from delivery.models import Message

# One whose readers leave this much oftener than all others' stands out: standard errors, and people.
SURE, FEW = 3.0, 5
COLUMNS = {
    "sent": (gettext_lazy("Sent"), DEFINITIONS["sent"]),
    "click_rate": (gettext_lazy("Click rate"), DEFINITIONS["click_rate"]),
    "revenue_per_message": (
        gettext_lazy("Revenue per message"),
        gettext_lazy("Revenue of the messages sent in the period ÷ sent."),
    ),
    "leaving": (gettext_lazy("Left"), gettext_lazy("Unsubscribed, and complained, ÷ sent.")),
}
RANKED = {"revenue": "revenue_per_message", "clicks": "click_rate", "leaving": "leaving"}


class Line(msgspec.Struct):
    """One message: its cells as (figure, "bad" or ""), and a word about what stands out."""

    pk: int
    name: str
    cells: list[tuple[str, str]]
    remark: str = ""


def messages(found: Home, asked: Asked, currency: str) -> dict[str, Any]:
    """The best and the worst by what is asked, else by revenue, or clicks where there is none; one query."""
    by = asked.by or (
        "revenue" if any(one.revenue.get(currency) for one in found.messages.values()) else "clicks"
    )
    ranked = ranking.rank(found.messages, by, currency)
    names = dict(
        Message.objects.filter(pk__in=[*ranked.best, *ranked.worst]).values_list("pk", "name").order_by("pk")
    )
    everything = found.now
    lines = {
        kind: [
            _line(pk, names[pk], found.messages[pk], everything, currency, by)
            for pk in getattr(ranked, kind)
            if pk in names
        ]
        for kind in ("best", "worst")
    }
    return lines | {
        "choices": asked.rankings(by),
        "heads": _heads(by),
        "rule": ranking.DEFINITIONS[by],
        "least": ngettext(
            "Among those of which %(number)s or more was sent.",
            "Among those of which %(number)s or more were sent.",
            ranked.least,
        )
        % {"number": count(ranked.least)},
    }


def _order(by: str) -> list[str]:
    """The columns, with what messages are ranked by first: on a phone the others are out of sight."""
    first = RANKED[by]
    return [first, *(key for key in COLUMNS if key != first)]


def _heads(by: str) -> list[Card]:
    return [
        Card(key=key, label=str(label), value="", definition=str(definition))
        for key in _order(by)
        for label, definition in [COLUMNS[key]]
    ]


def _line(pk: int, name: str, one: Figures, everything: Figures, currency: str, by: str) -> Line:
    many = leaves(one, everything)
    cells = {
        "sent": (count(one.sent), ""),
        "click_rate": (share(one.rate("clicked")), ""),
        "revenue_per_message": (money(one.revenue.get(currency, 0) / one.sent, currency), ""),
        "leaving": (share((one.unsubscribed + one.complained) / one.sent), "bad" if many else ""),
    }
    return Line(pk, name, [cells[key] for key in _order(by)], _("Many leave") if many else "")


def leaves(one: Figures, everything: Figures) -> bool:
    """Whether more people leave by this message than by chance, at the rate of all the others."""
    left, all_left = (each.unsubscribed + each.complained for each in (one, everything))
    others = everything.sent - one.sent
    if left < FEW or others <= 0:
        return False
    rate = max((all_left - left) / others, 1 / (others + 1))
    expected = one.sent * rate
    return left - expected > SURE * expected**0.5
