"""Charts of reports, as the page's script draws them and as a table for who can't see them."""

from decimal import Decimal
from typing import Any

from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _

from analytics.reporting.shapes import Chart, Kind, Series
from analytics.reporting.writing import written

CURRENCIES = 3  # of an amount, a line for each of those with most of it


def drawn(chart: Chart) -> dict[str, Any]:
    """Make a chart for the page.

    Returns:
        {"chart": it, "data": for `json_script`, "heads": labels, "rows": [(label, [written values])], "empty": bool,
        "compared": whether there is something of the period before}; days come with the latest first, and rows
        without anything are left out.
    """
    compared = any(any(series.before or []) for series in chart.series)
    heads, rows = [chart.head], []
    for series in chart.series:
        heads.append(str(series.column.label))
        if compared:
            heads.append(_("%s before") % series.column.label)
    for place, label in enumerate(chart.labels):
        values = [_value(part, place) for series in chart.series for part in _parts(series, compared)]
        if any(value for value in values):
            columns = [series.column for series in chart.series for _part in _parts(series, compared)]
            rows.append(
                (label, [written(column, value) for column, value in zip(columns, values, strict=True)])
            )
    if chart.kind == "lines":
        rows.reverse()
    data = {
        "kind": chart.kind,
        "labels": chart.labels,
        "rtl": get_language_bidi(),
        "series": [line for series in chart.series for line in _lines(series)],
    }
    return {
        "chart": chart,
        "data": data,
        "heads": heads,
        "rows": rows,
        "empty": not rows,
        "compared": compared,
    }


def _parts(series: Series, compared: bool) -> list[list[Any]]:
    return [series.values, series.before or []] if compared else [series.values]


def _value(values: list[Any], place: int) -> Any:
    return values[place] if place < len(values) else None


def _lines(series: Series) -> list[dict[str, Any]]:
    column = series.column
    line = {"key": column.key, "label": str(column.label), "unit": column.kind.value}
    if column.kind != Kind.MONEY:
        found = {**line, "values": [_plain(value) for value in series.values]}
        if any(series.before or []):
            found |= {
                "before": [_plain(value) for value in series.before or []],
                "before_label": _before(line["label"]),
            }
        return [found]
    sums: dict[str, Decimal] = {}
    for amounts in (*series.values, *(series.before or [])):
        for currency, amount in (amounts or {}).items():
            sums[currency] = sums.get(currency, Decimal()) + amount
    lines = []
    for currency in sorted(sums, key=lambda code: -sums[code])[:CURRENCIES]:
        label = f"{line['label']} ({currency})" if len(sums) > 1 else line["label"]
        found = {**line, "label": label, "currency": currency, "values": _of(series.values, currency)}
        if any(series.before or []):
            found |= {"before": _of(series.before or [], currency), "before_label": _before(label)}
        lines.append(found)
    return lines


def _before(label: str) -> str:
    return _("%s before") % label


def _of(values: list[Any], currency: str) -> list[float]:
    return [float((amounts or {}).get(currency, 0)) for amounts in values]


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)
