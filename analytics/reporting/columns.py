"""The columns of messages' figures, with their names and definitions."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _

from analytics.reporting.shapes import Column, Kind
from analytics.reports.definitions import DEFINITIONS, RATES, Comparison, Figures
from analytics.reports.people import COLUMNS as COUNTED

LABELS = {
    "audience": _("Audience"),
    "waiting": _("Waiting"),
    "sent": _("Sent"),
    "delivered": _("Delivered"),
    "opened": _("Opened"),
    "clicked": _("Clicked"),
    "dismissed": _("Swiped away"),
    "read": _("Read"),
    "bounced": _("Bounced"),
    "complained": _("Complaints"),
    "unsubscribed": _("Unsubscribed"),
    "lost": _("Lost"),
    "machine_opened": _("Opened by machines"),
    "machine_clicked": _("Clicked by machines"),
    "arrivals": _("Arrivals"),
    "opens": _("Openings"),
    "clicks": _("Clicks"),
    "dismissals": _("Swiped away"),
    "reads": _("Read"),
    "bounces": _("Bounces"),
    "complaints": _("Complaints"),
    "unsubscribes": _("Unsubscribes"),
    "losses": _("Lost"),
    "machine_opens": _("Openings by machines"),
    "machine_clicks": _("Clicks by machines"),
    "suppressed": _("Not sent by rule"),
    "failed": _("Failed"),
    "expired": _("Expired"),
    "people_converted": _("With a conversion"),
    "converted": _("Conversions"),
    "conversions": _("Conversions"),
    "revenue": _("Revenue"),
    "earned": _("Revenue"),
    "delivery_rate": _("Delivery rate"),
    "open_rate": _("Open rate"),
    "click_rate": _("Click rate"),
    "conversion_rate": _("Conversion rate"),
    "bounce_rate": _("Bounce rate"),
    "complaint_rate": _("Complaint rate"),
    "unsubscribe_rate": _("Unsubscribe rate"),
    "revenue_per_message": _("Revenue per message"),
}
_MONEY = {"revenue", "earned", "revenue_per_message"}
_WORSE = {
    *(
        "bounced",
        "complained",
        "unsubscribed",
        "lost",
        "bounces",
        "complaints",
        "unsubscribes",
        "losses",
        "failed",
    ),
    *("expired", "bounce_rate", "complaint_rate", "unsubscribe_rate"),
}
_FINE = {"complaint_rate", "unsubscribe_rate"}  # of which a tenth of a per cent matters
_NEITHER = {"waiting", "suppressed", "dismissed", "dismissals", "audience"}
_DEFINITIONS = {**DEFINITIONS, "revenue_per_message": _("Revenue ÷ sent, by currency.")}
USUAL = ("sent", "delivery_rate", "open_rate", "click_rate", "conversion_rate", "unsubscribe_rate", "revenue")


def columns(keys: Iterable[str]) -> list[Column]:
    """Columns by their names: fields of Figures, rates of RATES, "audience" and "revenue_per_message".

    Raises:
        KeyError: there is no such figure.
    """
    return [_column(key) for key in keys]


def values(figures: Figures, keys: Iterable[str]) -> dict[str, Any]:
    """What the figures have under these names."""
    return {key: _value(figures, key) for key in keys}


def compared(
    found: Comparison, keys: Iterable[str], beside: bool
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The values, and those before where they are to stand `beside`."""
    names = list(keys)
    return values(found.now, names), values(found.before, names) if beside else None


def _column(key: str) -> Column:
    kind = Kind.MONEY if key in _MONEY else Kind.SHARE if key in RATES else Kind.COUNT
    counted = RATES.get(key, key)
    return Column(
        key=key,
        label=LABELS[key],
        definition=_DEFINITIONS[key],
        kind=kind,
        counts=counted if counted in COUNTED else "",
        better="down" if key in _WORSE else "" if key in _NEITHER else "up",
        digits=2 if key in _FINE else 1,
    )


def _value(figures: Figures, key: str) -> Any:
    if key in RATES:
        return figures.rate(RATES[key])
    if key == "revenue_per_message":
        return (
            {currency: amount / figures.sent for currency, amount in figures.revenue.items()}
            if figures.sent
            else {}
        )
    return getattr(figures, key)
