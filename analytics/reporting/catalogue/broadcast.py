"""One broadcast: how far it is, what became of its audience, and its first two days hour by hour."""

from django.db.models import Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from analytics.reporting import audience, curves, lifted, parts
from analytics.reporting.catalogue import message
from analytics.reporting.columns import columns
from analytics.reporting.query import ALL_FILTERS, GOALS, Query
from analytics.reporting.shapes import Chart, Column, Kind, Report, Row, Series, Sheet, Table
from analytics.reports import launch
from analytics.reports.definitions import Figures
from campaigns.models import Broadcast, BroadcastPiece

CURVE = ("sent", "opens", "clicks")
TRAITS = ("channel", "locale", "device", "country", "provider")


def build(query: Query) -> Sheet:
    """Cards, the audience, the first hours, and tables; a fixed number of queries."""
    broadcast = Broadcast.objects.select_related("message").get(pk=query.filters.broadcast or 0)
    both = parts.total(query)
    every = parts.every_row(both, query)
    told = audience.told(query)
    followed = message.asked_links(query)
    cards = columns(message.CARDS)
    charts, notes = [], []
    if broadcast.started_at is not None:
        curve = launch.hours(broadcast.started_at, query.filters)
        charts.append(_first_hours(curve))
        notes += _halves(curve, both.now) if query.preset == "all" else []
    charts.append(curves.over_time(query))
    lift = lifted.table("broadcast", broadcast.pk) if broadcast.holdout_percent else None
    return Sheet(
        cards=cards,
        figures=parts.carded(both, query, cards),
        charts=charts,
        tables=[
            _progress(broadcast),
            *([_audience(broadcast, told, query)] if told else []),
            *([lift] if lift else []),
            parts.traits("channel", query, every),
            message.variants_table(query, broadcast.message_id),
            message.links_table(followed),
            *(parts.traits(name, query, every) for name in TRAITS[1:]),
        ],
        notes=notes,
    )


def _progress(broadcast: Broadcast) -> Table:
    """Where it is: a single row."""
    path = reverse("admin:campaigns_broadcast_change", args=[broadcast.pk])
    return Table(
        slug="progress",
        title=_("Progress"),
        head=_("Broadcast"),
        columns=[
            Column(key="state", label=_("State"), definition=_("What it is doing now."), kind=Kind.TEXT),
            Column(
                key="launched_at",
                label=_("Launched"),
                definition=_("When somebody let it go."),
                kind=Kind.MOMENT,
            ),
            Column(
                key="started_at",
                label=_("Began"),
                definition=_("When its audience was taken down and queueing began."),
                kind=Kind.MOMENT,
            ),
            Column(
                key="finished_at",
                label=_("Finished"),
                definition=_("When nothing of it was waiting any more."),
                kind=Kind.MOMENT,
            ),
        ],
        rows=[
            Row(
                key=str(broadcast.pk),
                label=broadcast.name,
                values={
                    "state": str(Broadcast.State(broadcast.state).label),
                    "launched_at": broadcast.launched_at,
                    "started_at": broadcast.started_at,
                    "finished_at": broadcast.finished_at,
                },
                link=(path, "campaigns.view_broadcast"),
                note=broadcast.message.name,
            )
        ],
    )


def _audience(broadcast: Broadcast, told: Figures, query: Query) -> Table:
    """Over all time the audience is that of its beginning, so that it is told also who was never queued."""
    if query.preset != "all" or broadcast.audience is None:
        return audience.table(told, query)
    pieces = dict(
        BroadcastPiece.objects.filter(broadcast=broadcast)
        .exclude(state=BroadcastPiece.State.QUEUED)
        .values_list("state")
        .annotate(people=Sum("size"))
        .order_by()
    )
    size = max(broadcast.audience, told.audience)
    left = {
        "unqueued": (_("Not queued yet"), pieces.get(BroadcastPiece.State.WAITING, 0)),
        "cancelled": (_("Cancelled before they were queued"), pieces.get(BroadcastPiece.State.CANCELLED, 0)),
    }
    rest = size - told.audience - sum(number for _label, number in left.values())
    left["rest"] = (_("Removed or merged since, or just being counted"), max(0, rest))
    extra = [audience.line(key, label, number, size) for key, (label, number) in left.items() if number]
    return audience.table(told, query, extra, size)


def _first_hours(curve: list[launch.Hour]) -> Chart:
    return Chart(
        slug="first_hours",
        title=_("The first %d hours") % launch.HOURS,
        head=_("Hours after the launch"),
        labels=[f"+{place}" for place in range(len(curve))],
        series=[
            Series(column=column, values=[getattr(each, column.key) for _at, each in curve])
            for column in columns(CURVE)
        ],
    )


def _halves(curve: list[launch.Hour], total: Figures) -> list[str]:
    """How soon people did what they did."""
    found = []
    for name, number, words in (
        ("opens", total.opened, _("Half of those who opened it had done so within %s.")),
        ("clicks", total.clicked, _("Half of those who clicked had done so within %s.")),
    ):
        hours = launch.until_half(curve, name, number)
        if hours is not None:
            found.append(words % (ngettext("%d hour", "%d hours", hours) % hours))
    return found


REPORT = Report(
    slug="broadcast",
    title=gettext_lazy("Broadcast"),
    description=gettext_lazy("One broadcast: its progress, its audience, its first hours and its effect."),
    group="messages",
    permission="campaigns.view_broadcast",
    takes=(ALL_FILTERS | GOALS | {"variant"}) - {"message", "flow", "origin"},
    subject="broadcast",
    default="all",
    build=build,
    choices=(message.LINKS,),
    icon="campaign",
)
