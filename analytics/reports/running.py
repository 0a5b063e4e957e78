"""What runs: flows with their health, and broadcasts with their progress."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analytics.reports import figures, periods
from analytics.reports.definitions import Figures
from analytics.reports.periods import Period
from campaigns.models import Broadcast, Flow

STUCK = timedelta(minutes=15)
MOST_STUCK = 1000  # counted
MOST_FLOWS = 200
FAILING = 0.05  # of what a flow should have sent
FEW = 20  # failures below which a share of them says little
DEFINITIONS = {
    "inside": _("People who are at one of the flow's steps now."),
    "entered": _("Runs that began in the period, those held out for comparison included."),
    "conversion_rate": _("Of the flow's messages sent in the period, those with a conversion."),
    "revenue": _("The amounts of goal events in the period that are credited to the flow's messages."),
    "lift": _(
        "Conversions of a year that would not have come without the flow, by comparison with those held out of it."
    ),
    "stuck": _(
        "Runs that should have gone on for 15 minutes and have not; counted up to 1,000 of each version."
    ),
    "failing": _("More than 5 % of the flow's messages of the period failed, 20 or more of them."),
}
_PEOPLE = """
    SELECT f.id,
        (SELECT count(*) FROM campaigns_enrollment e WHERE e.flow_id = f.id AND e.state = 'active'),
        (SELECT count(*) FROM campaigns_enrollment e WHERE e.flow_id = f.id AND e.entered_at >= %(since)s),
        (SELECT coalesce(sum(late.n), 0)::bigint FROM campaigns_flowversion v CROSS JOIN LATERAL (
            SELECT count(*) AS n FROM (
                SELECT FROM campaigns_enrollment e
                WHERE e.version_id = v.id AND e.state = 'active' AND e.due_at < %(due)s LIMIT %(most)s) runs
        ) late WHERE v.flow_id = f.id AND f.state IN ('live', 'finishing'))
    FROM campaigns_flow f WHERE f.id = ANY(%(flows)s)
"""


class People(msgspec.Struct):
    """A flow's people; see DEFINITIONS."""

    inside: int = 0
    entered: int = 0
    stuck: int = 0


class Progress(msgspec.Struct):
    """A broadcast on its way: of its `audience` so many are `done`, sent or not; None before that is known."""

    broadcast: Broadcast
    figures: Figures
    done: int

    @property
    def percent(self) -> int | None:
        audience = self.broadcast.audience
        if audience is None:
            return None
        return 100 * self.done // audience if audience else 100


def people(flows: Sequence[int], period: Period, now: datetime | None = None) -> dict[int, People]:
    """The people of these flows by their numbers, with those who entered since the period began; one query."""
    values: dict[str, Any] = {
        "flows": list(flows),
        "since": period.bounds()[0],
        "due": (now or timezone.now()) - STUCK,
        "most": MOST_STUCK,
    }
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, values)
        return {pk: People(*counts) for pk, *counts in cursor.fetchall()}


def flows() -> list[Flow]:
    """The flows that run or are paused, by name; one query."""
    states = [Flow.State.LIVE, Flow.State.PAUSED, Flow.State.FINISHING]
    return list(Flow.objects.filter(state__in=states).defer("draft").order_by("name", "pk")[:MOST_FLOWS])


def failing(told: Figures) -> bool:
    """Whether so many messages failed that somebody should look."""
    failed = told.failed + told.lost
    return failed >= FEW and failed > FAILING * (told.sent + told.failed)


def broadcasts(most: int, now: datetime | None = None) -> list[Progress]:
    """Broadcasts that are being sent or held, then those that come next; three queries."""
    states = Broadcast.State
    found = list(
        Broadcast.objects.filter(
            state__in=[*Broadcast.BUSY, states.PAUSED, states.SCHEDULED, states.REPEATING]
        ).select_related("message")[: most * 20]
    )
    order = {states.SENDING: 0, states.EXPANDING: 0, states.PAUSED: 1}
    last = timezone.now() + timedelta(days=36500)
    found.sort(
        key=lambda row: (order.get(states(row.state), 2), row.next_slot or row.starts_at or last, row.pk)
    )
    found = found[:most]
    begun = [row.started_at for row in found if row.started_at]
    told = _since(min(begun).date(), now) if begun else {}
    return [_progress(row, told.get(row.pk, Figures())) for row in found]


def _since(first: date, now: datetime | None) -> dict[int, Figures]:
    last = periods.last(1, now).last
    return figures.by("broadcast", Period(min(first - timedelta(days=1), last), last))


def _progress(row: Broadcast, told: Figures) -> Progress:
    done = told.sent + told.suppressed + told.failed + told.expired
    return Progress(row, told, min(done, row.audience or 0))
