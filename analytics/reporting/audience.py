"""What became of everybody a message was meant for, and why some got none."""

import re
from collections import Counter
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext as _

from analytics.reporting.columns import LABELS
from analytics.reporting.query import Query
from analytics.reporting.shapes import Column, Kind, Row, Table
from analytics.reports import messages
from analytics.reports.definitions import DEFINITIONS, Figures
from campaigns.flows import reasons as words
from crm import masking

# audience = the sum of these
TERMS = ("sent", "waiting", "suppressed", "failed", "expired")
_STATES = {"waiting": "deferred"}
MOST_REASONS = 20  # of each state; providers' words may be others for each person
_NUMBERS = re.compile(r"[^ ]*@[^ ]*|[0-9]{7,}")  # what names a person in providers' words


def told(query: Query) -> Figures | None:
    """The figures with what waits and with reasons; None where filters ask for what deliveries alone don't tell."""
    if query.filters.exact or query.filters.traits:
        return None
    return messages.counted("", query.period, query.filters).get((), Figures())


def table(figures: Figures, query: Query, extra: list[Row] | None = None, size: int | None = None) -> Table:
    """The equation: audience = sent + waiting + not sent by rule + failed + expired, with reasons below each.

    Args:
        extra: more terms, after these.
        size: the audience, where it is known otherwise than as the sum.
    """
    size = figures.audience if size is None else size
    rows = []
    for term in TERMS:
        rows.append(
            line(term, str(LABELS[term]), getattr(figures, term), size, link=_list(query, term), about=term)
        )
        rows += _reasons(term, figures, size)
    rows += extra or []
    return Table(
        slug="audience",
        title=_("What became of the audience"),
        head=_("Audience"),
        columns=columns(),
        rows=rows,
        total=line("", str(LABELS["audience"]), size, size, about="audience"),
        empty=_("It was meant for nobody in this period."),
    )


def columns() -> list[Column]:
    """The columns of the equation."""
    return [
        Column(
            key="messages", label=_("Messages"), definition=_("Messages, one for each person and occasion.")
        ),
        Column(
            key="share",
            label=_("Share"),
            definition=_("Messages ÷ audience."),
            kind=Kind.SHARE,
        ),
    ]


def line(
    key: str, label: str, number: int, size: int, link: tuple[str, str] | None = None, about: str = ""
) -> Row:
    """A term of the equation; `about` names its definition."""
    return Row(
        key=key,
        label=label,
        values={"messages": number, "share": number / size if size else None},
        link=link,
        note=str(DEFINITIONS[about]) if about else "",
    )


def _reasons(term: str, figures: Figures, size: int) -> list[Row]:
    counts: Counter[str] = Counter()
    for reason, number in figures.reasons.get(_STATES.get(term, term), {}).items():
        counts[masking.text(_NUMBERS.sub("•••", reason))] += number
    shown: list[tuple[str, int]] = counts.most_common(MOST_REASONS)
    rest = sum(counts.values()) - sum(number for _reason, number in shown)
    made = [
        line(f"{term}:{reason}", words.sent_words(reason) or reason, number, size) for reason, number in shown
    ]
    if rest:
        made.append(line(f"{term}:…", _("Other reasons"), rest, size))
    for row in made:
        row.depth = 1
    return made


def _list(query: Query, term: str) -> tuple[str, str] | None:
    """The list of deliveries; "sent" and "waiting" are several states, which it can't be narrowed to."""
    if query.filters.message is None or term not in ("suppressed", "failed", "expired"):
        return None
    asked: dict[str, Any] = {"message__id__exact": query.filters.message, "state__exact": term}
    if query.preset != "all":
        asked["queued_at_from"] = query.period.first.isoformat()
    return f"{reverse('admin:delivery_delivery_changelist')}?{urlencode(asked)}", "delivery.view_delivery"
