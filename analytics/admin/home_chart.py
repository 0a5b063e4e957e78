"""The home's chart: one measure by day or hour beside the period before, and all of them as a table."""

from datetime import date, time
from typing import Any

from django.utils import formats
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _

from analytics.admin.home_asked import MEASURES, Asked
from analytics.reports.definitions import DEFINITIONS, Figures
from analytics.reports.overview import Home
from analytics.written import amounts, count

# What happened on the day or in the hour, whenever the message was sent.
COUNTS = {
    "sent": "sent",
    "opened": "opens",
    "clicked": "clicks",
    "converted": "conversions",
    "revenue": "earned",
    "unsubscribed": "unsubscribes",
}


def chart(found: Home, asked: Asked, currency: str) -> dict[str, Any]:
    """What the page's script draws of the chosen measure, and the same with all measures as a table.

    Returns:
        {"data": for `json_script`, "heads": labels, "rows": [(when, [written figures])], "empty": bool, "definition",
        "label"}; rows have the latest first and leave out those without anything.
    """
    show = asked.show
    before = _("Period before") if found.days else _("A week before")
    points = found.points
    data = {
        "labels": [_when(point.at) for point in points],
        "now": [_value(point.now, show, currency) for point in points],
        # Where nothing was, there is no line at nought that looks as if something had been.
        "before": [_value(point.before, show, currency) for point in points]
        if any(_any(point.before) for point in points)
        else [],
        "names": [asked.label, before],
        "key": show,
        "currency": currency if show == "revenue" else "",
        "rtl": get_language_bidi(),
    }
    rows = [
        (
            _when(point.at),
            [
                *(_written(point.now, key) for key in MEASURES),
                _written(point.before, show),
            ],
        )
        for point in reversed(points)
        if _any(point.now) or _any(point.before)
    ]
    return {
        "data": data,
        "label": str(MEASURES[show]),
        "definition": str(DEFINITIONS[COUNTS[show]]),
        "heads": [
            _("Day") if found.days else _("Hour"),
            *MEASURES.values(),
            _("%(measure)s, %(before)s") % {"measure": MEASURES[show], "before": before.lower()},
        ],
        "rows": rows,
        "empty": not rows,
    }


def _when(at: date | int) -> str:
    if isinstance(at, date):
        return formats.date_format(at, "MONTH_DAY_FORMAT")
    return formats.time_format(time(at), "H:i")


def _value(one: Figures | None, show: str, currency: str) -> float | None:
    if one is None:
        return None
    if show == "revenue":
        return float(one.earned.get(currency, 0))
    return getattr(one, COUNTS[show])


def _written(one: Figures | None, key: str) -> str:
    if one is None:
        return "–"
    if key == "revenue":
        return " · ".join(amounts(one.earned)) or "–"
    return count(getattr(one, COUNTS[key]))


def _any(one: Figures | None) -> bool:
    return one is not None and any(getattr(one, name) for name in COUNTS.values())
