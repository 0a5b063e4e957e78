"""What became of coupon codes, what they brought, and which pools run out."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from analytics.reporting.query import Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports import coupons
from analytics.reports.coupons import DEFINITIONS, SOON, Given, Line
from analytics.written import count

_COLUMNS = (
    ("given", gettext_lazy("Given"), Kind.COUNT, "up"),
    ("used", gettext_lazy("Used"), Kind.COUNT, "up"),
    ("rate", gettext_lazy("Share used"), Kind.SHARE, "up"),
    ("revenue", gettext_lazy("Revenue"), Kind.MONEY, "up"),
    ("left", pgettext_lazy("codes of a pool", "Left"), Kind.COUNT, ""),
    ("pace", gettext_lazy("Given a day"), Kind.COUNT, ""),
    ("days", gettext_lazy("Days left"), Kind.COUNT, ""),
)
COLUMNS = [
    Column(key=key, label=label, definition=DEFINITIONS[key], kind=kind, better=better)
    for key, label, kind, better in _COLUMNS
]
CARDS = COLUMNS[:4]


def build(query: Query) -> Sheet:
    """A row for each pool; two queries."""
    lines = coupons.report(query.period, settings.NUDGE_CURRENCY.upper())
    every = Row(
        key="",
        label=_("All pools"),
        values=_given(_together([line.now for line in lines])) | dict.fromkeys(("left", "pace", "days")),
        before=_given(_together([line.before for line in lines])) if query.compare else None,
    )
    return Sheet(
        cards=CARDS,
        figures=every,
        tables=[
            Table(
                slug="pools",
                title=_("By pool"),
                head=_("Pool"),
                columns=COLUMNS,
                rows=[_row(line, query) for line in lines],
                total=every if lines else None,
                empty=_("There are no coupon pools yet."),
            )
        ],
        warnings=[sentence for line in lines if (sentence := _warning(line))],
    )


def _row(line: Line, query: Query) -> Row:
    days = line.days
    return Row(
        key=str(line.pool),
        label=line.name,
        values=_given(line.now)
        | {
            "left": line.left,
            "pace": Decimal(f"{line.pace:.1f}"),
            "days": None if days is None else Decimal(f"{days:.1f}"),
        },
        before=_given(line.before) if query.compare else None,
        link=(reverse("admin:delivery_couponpool_change", args=[line.pool]), "delivery.view_couponpool"),
        note=_note(line),
    )


def _given(one: Given) -> dict[str, Any]:
    return {"given": one.given, "used": one.used, "rate": one.rate, "revenue": one.revenue}


def _together(parts: list[Given]) -> Given:
    whole = Given(sum(one.given for one in parts), sum(one.used for one in parts), {})
    for one in parts:
        for currency, amount in one.revenue.items():
            whole.revenue[currency] = whole.revenue.get(currency, Decimal(0)) + amount
    return whole


def _note(line: Line) -> str:
    if line.expires_at is None:
        return ""
    day = formats.date_format(timezone.localtime(line.expires_at), "SHORT_DATE_FORMAT")
    if line.expires_at <= timezone.now():
        return _("Not valid since %s.") % day
    return _("Valid until %s.") % day


def _warning(line: Line) -> str:
    if line.left is None or (line.expires_at is not None and line.expires_at <= timezone.now()):
        return ""
    if not line.left and (line.pace or line.now.given):
        return _("“%(pool)s” has no codes left: upload or make more.") % {"pool": line.name}
    if line.days is None or line.days >= SOON:
        return ""
    days = int(line.days)
    return ngettext(
        "“%(pool)s” runs out in %(days)s day at the present pace: %(left)s codes are left.",
        "“%(pool)s” runs out in %(days)s days at the present pace: %(left)s codes are left.",
        days,
    ) % {"pool": line.name, "days": count(days), "left": count(line.left)}


REPORT = Report(
    slug="coupons",
    title=gettext_lazy("Coupons"),
    description=gettext_lazy("Codes that were given and used, what they brought, and which pools run out."),
    group="money",
    permission="delivery.view_couponpool",
    build=build,
    icon="confirmation_number",
)
