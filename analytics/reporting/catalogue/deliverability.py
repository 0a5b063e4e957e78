"""Whether messages arrive: by channel and by who carries them, with what mailbox providers demand."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import daily, names
from analytics.reporting.columns import columns, compared
from analytics.reporting.query import ALL_FILTERS, UNKNOWN, Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports import deliverability
from analytics.reports.deliverability import Cause, Excess, Line
from analytics.reports.filters import Filters
from analytics.written import count, percent

KEYS = (
    *("sent", "delivered", "delivery_rate", "bounced", "bounce_rate", "lost", "failed"),
    *(
        "complained",
        "complaint_rate",
        "unsubscribed",
        "unsubscribe_rate",
        "machine_opened",
        "machine_clicked",
    ),
)
CARDS = ("sent", "delivery_rate", "bounce_rate", "complaint_rate", "unsubscribe_rate", "failed")
DRAWN = ("bounces", "complaints", "unsubscribes", "losses", "failed")
RATES = ("bounce_rate", "complaint_rate", "unsubscribe_rate")
SHOWN = 50  # causes
GONE = Column(
    key="gone",
    label=gettext_lazy("Dead subscriptions"),
    definition=deliverability.DEFINITIONS["gone"],
    better="down",
)
_MEASURES = {"complained": gettext_lazy("complaints"), "bounced": gettext_lazy("bounces")}


def build(query: Query) -> Sheet:
    """A row for each channel and for each who carries one, the causes, and warnings; six queries."""
    found = deliverability.report(query.period, query.filters)
    every = _row("", _("All channels"), found.total, query, {})
    shown = [*columns(KEYS), GONE]
    days = daily.read(query)
    return Sheet(
        cards=columns(CARDS),
        figures=every,
        charts=[
            daily.of_figures("troubles", _("What did not arrive or was not wanted"), query, DRAWN, days),
            daily.of_figures("rates", _("Shares of what was sent on the day"), query, RATES, days),
        ],
        tables=[
            Table(
                slug="channels",
                title=_("By channel"),
                head=_("Channel"),
                columns=shown,
                rows=[
                    _row(line.channel, names.channel(line.channel), line, query, {"channel": line.channel})
                    for line in found.channels
                ],
                total=every if found.carriers else None,
                empty=_("Nothing was sent in this period."),
            ),
            Table(
                slug="carriers",
                title=_("By who carries them"),
                head=_("Mail service, push service or provider"),
                columns=shown,
                rows=[_carrier(line, query) for line in found.carriers],
                total=every if found.carriers else None,
                note=str(deliverability.DEFINITIONS["provider"]),
                empty=_("Nothing was sent in this period."),
            ),
            _causes(deliverability.causes(query.period, query.filters)),
        ],
        notes=_notes(found.carriers),
        warnings=[_warning(each) for line in found.carriers for each in deliverability.excesses(line)],
    )


def _row(key: str, label: str, line: Line, query: Query, narrows: dict[str, str]) -> Row:
    """Dead subscriptions belong to no message: they are left out where the query is about some messages only."""
    filters = query.filters
    whole = Filters(channel=filters.channel, provider=filters.provider, machines=filters.machines)
    now, before = compared(line.figures, KEYS, query.compare)
    now["gone"] = line.gone[0] if filters == whole else None
    if before is not None:
        before["gone"] = line.gone[1] if filters == whole else None
    return Row(key=key, label=label, values=now, before=before, narrows=narrows)


def _carrier(line: Line, query: Query) -> Row:
    row = _row(
        f"{line.channel}/{line.provider}",
        f"{names.channel(line.channel)}: {names.service(line.provider)}",
        line,
        query,
        {"channel": line.channel, "provider": line.provider or UNKNOWN},
    )
    row.note = " ".join(
        _("%(share)s %(what)s: the limit is %(limit)s.")
        % {
            "share": percent(each.share, 2),
            "what": _MEASURES[each.figure],
            "limit": percent(each.limit.share, 2),
        }
        for each in deliverability.excesses(line)
    )
    return row


def _causes(found: list[Cause]) -> Table:
    kinds = {
        "hard": _("came back for good: the address does not exist"),
        "soft": _("failed after it was accepted"),
        "refused": _("refused at once, or it could not be written"),
        "expired": _("its time was up"),
    }
    return Table(
        slug="causes",
        title=_("Why messages did not arrive"),
        head=_("In the words of who told it"),
        columns=[
            Column(key="kind", label=_("What it means"), kind=Kind.TEXT, definition=_definition_of_kinds()),
            Column(
                key="number",
                label=_("Messages"),
                definition=_("Messages that ended so in the period, whenever they were sent."),
                better="down",
            ),
        ],
        rows=[
            Row(
                key=f"{cause.kind}/{cause.words}",
                label=cause.words,
                values={"kind": kinds[cause.kind], "number": cause.number},
            )
            for cause in found[:SHOWN]
        ],
        note=_("The %d most frequent ones.") % SHOWN if len(found) > SHOWN else "",
        empty=_("Everything arrived, as far as is known."),
    )


def _definition_of_kinds() -> str:
    return _(
        "Hard bounces say that the address does not exist: nobody writes to it again. Others may arrive another time."
    )


def _warning(excess: Excess) -> str:
    words = {
        "service": f"{names.channel(excess.line.channel)}: {names.service(excess.line.provider)}",
        "share": percent(excess.share, 2),
        "what": _MEASURES[excess.figure],
        "number": count(excess.number),
        "sent": count(excess.line.figures.now.sent),
        "demand": str(excess.limit.words),
    }
    return _("%(service)s: %(share)s %(what)s (%(number)s of %(sent)s messages). %(demand)s") % words


def _notes(lines: list[Line]) -> list[str]:
    notes = [str(deliverability.DEFINITIONS["limits"])]
    if any(line.provider in deliverability.SILENT and line.figures.now.sent for line in lines):
        notes.append(
            _(
                "Gmail tells nobody who called a message spam. Its rate is in Google's Postmaster Tools alone; here it"
                " counts as none."
            )
        )
    return notes


REPORT = Report(
    slug="deliverability",
    title=gettext_lazy("Deliverability"),
    description=gettext_lazy(
        "What arrived, came back or was called spam, by mail service, push service and provider."
    ),
    group="quality",
    permission="delivery.view_message",
    takes=ALL_FILTERS,
    build=build,
    icon="mark_email_read",
)
