"""What would not have come without the messages, on the home."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from analytics.experiments.holdouts import Holdout, Line
from analytics.experiments.lift import Figure, Lift, total
from analytics.experiments.words import lift_sentence
from analytics.written import count, money

GLOBAL = "global"
SHOWN = 6
MONTHS = 12
PAGES = {
    "flow": ("campaigns.view_flow", "admin:reports_flow"),
    "message": ("delivery.view_message", "admin:reports_message"),
    "broadcast": ("campaigns.view_broadcast", "admin:campaigns_broadcast_change"),
}


class Extra(msgspec.Struct):
    """An estimate and its interval as people read them; `sure` where it can't be chance."""

    value: str
    interval: str
    sure: bool = False


def lift(found: list[Line], request: HttpRequest) -> dict[str, Any]:
    """The sum of all, then each of them. Who is held out of all marketing is compared with everybody: that is the sum.

    Returns:
        {"holdouts": whether there are any, "sentence", "figures": {name: Extra}, "rows", "months", "hints"}.
    """
    told = _together(found)
    return {
        "holdouts": bool(found),
        "sentence": lift_sentence(told, settings.NUDGE_CURRENCY),
        "figures": _figures(told) if told else [],
        "rows": [_row(line, request) for line in found[:SHOWN]],
        "more": max(0, len(found) - SHOWN),
        "months": _months(found),
        "hints": _hints(request),
    }


def of_flow(found: list[Line], pk: int) -> Extra | None:
    """The extra conversions of one flow; None where nobody is held out of it or nobody is there to compare."""
    for line in found:
        if (line.holdout.kind, line.holdout.number) == ("flow", pk) and line.lift:
            return _number(line.lift.conversions, line.lift.certain)
    return None


def _together(found: list[Line]) -> Lift | None:
    of_all = [line.lift for line in found if line.holdout.kind == GLOBAL and line.lift]
    return total(of_all or [line.lift for line in found if line.lift])


def _figures(one: Lift) -> list[dict[str, Any]]:
    rows = [
        {
            "label": _("Extra conversions"),
            "whole": _number(one.conversions, one.certain),
            "message": _number(one.conversions_per_message, one.certain, digits=True),
            "month": _number(one.conversions_per_month, one.certain),
        }
    ]
    if one.value.estimate:
        rows.append(
            {
                "label": _("Extra revenue"),
                "whole": _amount(one.value, one.certain_value),
                "message": _amount(one.value_per_message, one.certain_value),
                "month": _amount(one.value_per_month, one.certain_value),
            }
        )
    return rows


def _row(line: Line, request: HttpRequest) -> dict[str, Any]:
    one = line.lift
    return {
        "name": line.holdout.name,
        "link": _link(line.holdout, request),
        "percent": f"{line.holdout.percent:g} %",
        "conversions": _number(one.conversions, one.certain) if one else None,
        "revenue": _amount(one.value, one.certain_value) if one and one.value.estimate else None,
        "sentence": lift_sentence(one, settings.NUDGE_CURRENCY),
    }


def _months(found: list[Line]) -> list[tuple[str, Extra, Extra | None]]:
    """By the month in which people were divided, the latest first."""
    of_all = [line for line in found if line.holdout.kind == GLOBAL and line.lift]
    by_month: dict[str, list[Lift]] = {}
    for line in of_all or found:
        for month, one in line.months:
            if one:
                by_month.setdefault(month, []).append(one)
    rows = []
    for month in sorted(by_month, reverse=True)[:MONTHS]:
        one = total(by_month[month])
        if one:
            worth = _amount(one.value, one.certain_value) if one.value.estimate else None
            rows.append((month, _number(one.conversions, one.certain), worth))
    return rows


def _hints(request: HttpRequest) -> list[tuple[str, str]]:
    """Where a holdout can be set up, as far as this person may: (words, link)."""
    places = [
        ("campaigns.change_flow", "admin:campaigns_flow_changelist", _("In a flow: its settings")),
        ("delivery.change_message", "admin:delivery_message_changelist", _("Of a message: its goal")),
        ("campaigns.add_broadcast", "admin:campaigns_broadcast_add", _("Of a broadcast: before it starts")),
        (
            "delivery.change_sendingrules",
            "admin:delivery_sendingrules_changelist",
            _("Of all marketing: the sending rules"),
        ),
    ]
    return [(words, reverse(page)) for right, page, words in places if request.user.has_perm(right)]


def _link(holdout: Holdout, request: HttpRequest) -> str:
    right, page = PAGES.get(holdout.kind, ("", ""))
    return reverse(page, args=[holdout.number]) if page and request.user.has_perm(right) else ""


def _number(figure: Figure | None, sure: bool, digits: bool = False) -> Extra | None:
    if figure is None:
        return None
    return _extra(figure, lambda value: count(round(value, 4) if digits else round(value)), sure)


def _amount(figure: Figure | None, sure: bool) -> Extra | None:
    if figure is None:
        return None
    return _extra(figure, lambda value: money(value, settings.NUDGE_CURRENCY), sure)


def _extra(figure: Figure, write: Any, sure: bool) -> Extra:
    words: Mapping[str, str] = {"low": write(figure.low), "high": write(figure.high)}
    return Extra(write(figure.estimate), _("%(low)s to %(high)s") % words, sure)
