"""Lines over days, as the page's script draws them and as a table for who can't see them."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.utils import formats
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _

from analytics.admin.figures import LABELS
from analytics.written import count

SERIES = ("sent", "opened", "clicked", "converted")
MAX_DAYS = 731  # drawn; older days are in the figures and in the table


def lines(rows: Sequence[tuple[date, Mapping[str, int]]], keys: Sequence[str] = SERIES) -> dict[str, Any]:
    """Make a chart of one row for each day.

    Returns:
        {"data": for `json_script`, "heads": labels, "rows": [(day, [written figures])], "empty": bool};
        the rows have the latest day first and leave out days without anything.
    """
    table = [
        (formats.date_format(day, "SHORT_DATE_FORMAT"), [count(figures.get(key, 0)) for key in keys])
        for day, figures in reversed(rows)
        if any(figures.get(key) for key in keys)
    ]
    data = {
        "labels": [formats.date_format(day, "MONTH_DAY_FORMAT") for day, _figures in rows],
        "rtl": get_language_bidi(),
        "series": [
            {"key": key, "label": str(LABELS[key]), "values": [figures.get(key, 0) for _day, figures in rows]}
            for key in keys
        ],
    }
    return {
        "data": data,
        "heads": [_("Day"), *(LABELS[key] for key in keys)],
        "rows": table,
        "empty": not table,
    }


def every_day(found: Mapping[date, Any], first: date, last: date) -> list[tuple[date, Any]]:
    """One row for each day from `first` to `last`, None where nothing was found; at most the last two years."""
    first = max(first, last - timedelta(days=MAX_DAYS - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [(day, found.get(day)) for day in days]
