"""What messages brought that would not have come without them: every holdout there is, and its lift."""

from datetime import datetime, time, timedelta

import msgspec
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.experiments import gathering
from analytics.experiments.arms import Arm, together
from analytics.experiments.gathering import Question
from analytics.experiments.lift import Lift, lift
from analytics.reports import figures, periods
from campaigns.models import Broadcast, Flow
from crm import geography
from delivery.exposures import HELD_OUT, TREATED
from delivery.models import Message, SendingRules
from delivery.policies import holdouts as policy

DAYS = 365
GOAL, AMOUNT, WINDOW = "purchase", "total", timedelta(days=7)  # of what has no goal of its own


class Holdout(msgspec.Struct, frozen=True):
    """Something that part of the people, in percent, does not get; `kind` and `number` tell what."""

    experiment: str
    kind: str
    name: str
    percent: float
    number: int | None = None
    goal: str = GOAL
    amount: str = AMOUNT
    window: timedelta = WINDOW


class Line(msgspec.Struct, frozen=True):
    """A holdout with its lift over a year and by the month in which people came into it, the latest first."""

    holdout: Holdout
    lift: Lift | None
    months: list[tuple[str, Lift | None]]


def everything() -> list[Holdout]:
    """All holdouts there are now; four queries."""
    found = []
    percent = SendingRules.objects.filter(topic=None, message=None).values_list(
        "global_holdout_percent", flat=True
    )
    if any(percent):
        found.append(Holdout(policy.GLOBAL, "global", _("All marketing"), percent[0]))
    for flow in Flow.objects.select_related("live_version").order_by("name"):
        share = float((flow.live_version.definition if flow.live_version else {}).get("holdout_percent") or 0)
        if share:
            found.append(Holdout(f"holdout:flow:{flow.pk}", "flow", flow.name, share, flow.pk))
    for message in Message.objects.filter(holdout_percent__gt=0).order_by("name"):
        found.append(
            Holdout(
                policy.of_message(message.pk),
                "message",
                message.name,
                message.holdout_percent,
                message.pk,
                message.goal_event or GOAL,
                message.goal_value_property,
                timedelta(hours=message.goal_window_hours),
            )
        )
    for broadcast in Broadcast.objects.filter(holdout_percent__gt=0, origin=None).select_related("message"):
        about = broadcast.message
        found.append(
            Holdout(
                f"holdout:broadcast:{broadcast.pk}",
                "broadcast",
                broadcast.name,
                broadcast.holdout_percent,
                broadcast.pk,
                about.goal_event or GOAL,
                about.goal_value_property,
                timedelta(hours=about.goal_window_hours),
            )
        )
    return found


def report(now: datetime | None = None) -> list[Line]:
    """The lift of every holdout within a year; one query for each and one for each kind."""
    now = now or timezone.now()
    year = periods.last(DAYS, now)
    found = everything()
    zone = geography.account_zone()
    since = datetime.combine(year.first, time(), zone)
    sent = {
        kind: {key: each.sent for key, each in figures.by(kind, year).items()}
        for kind in {each.kind for each in found} - {"global"}
    }
    lines = []
    for each in found:
        months = gathering.by_month(
            Question(
                experiment=each.experiment,
                arms=(HELD_OUT, TREATED),
                goal=each.goal,
                window=each.window,
                value_property=each.amount,
                since=since,
                until=now,
                now=now,
            ),
            zone.key,
        )
        messages = sent.get(each.kind, {}).get(each.number, 0)
        out = together([arms[0] for arms in months.values()] or [Arm(key=HELD_OUT, exposed=0)], HELD_OUT)
        treated = together([arms[1] for arms in months.values()] or [Arm(key=TREATED, exposed=0)], TREATED)
        lines.append(
            Line(
                each,
                lift(treated, out, messages=messages, days=_days(months, now)),
                [(month, lift(arms[1], arms[0])) for month, arms in sorted(months.items(), reverse=True)],
            )
        )
    return lines


def _days(months: dict[str, list[Arm]], now: datetime) -> float:
    """Since the first month in which anybody was compared."""
    if not months:
        return 0
    return max(
        1.0, (now - datetime.fromisoformat(f"{min(months)}-01T00:00:00+00:00")).total_seconds() / 86400
    )
