"""The size of a segment as a line, and as a table for who can't see it."""

from collections.abc import Sequence
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import formats
from django.utils.translation import get_language_bidi, ngettext
from django.utils.translation import gettext as _

from campaigns.segments.history import Point


def sizes(points: Sequence[Point], hourly: bool = False) -> dict[str, Any]:
    """The size at the end of each hour or day (in UTC), and who came and went in it.

    Returns:
        {"size", "moves": charts for `json_script`, "heads": labels, "rows": [(time, [figures in words])], "empty"}
    """
    form = "SHORT_DATETIME_FORMAT" if hourly else "SHORT_DATE_FORMAT"
    labels = [formats.date_format(point.at, "H:i" if hourly else "MONTH_DAY_FORMAT") for point in points]
    people, came, went = _("People"), _("Came in"), _("Dropped out")

    def lines(*series: tuple[str, str, list[int | None]]) -> dict[str, Any]:
        return {
            "labels": labels,
            "rtl": get_language_bidi(),
            "series": [{"key": key, "label": label, "values": values} for key, label, values in series],
        }

    return {
        "size": lines(("sent", people, [point.size for point in points])),
        "moves": lines(
            ("converted", came, [point.entered for point in points]),
            ("clicked", went, [point.departed for point in points]),
        ),
        "heads": [_("Hour") if hourly else _("Day"), people, came, went],
        "rows": [
            (
                formats.date_format(point.at, form),
                [intcomma(number) for number in (point.size, point.entered, point.departed)],
            )
            for point in reversed(points)
        ],
        "empty": not points,
    }


def span_words(days: int) -> str:
    """Such as “30 days”."""
    return ngettext("%d day", "%d days", days) % days
