"""What messages brought that would not have come without them: every holdout there is, and its lift."""

from collections.abc import Collection, Sequence
from datetime import datetime, time, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models import Max
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
from delivery.models import HoldoutMonth, Message, SendingRules
from delivery.policies import holdouts as policy

DAYS = 365
SIDES = (HELD_OUT, TREATED)
SETTLED = timedelta(hours=1)
LOCK = 0x6E75646C  # any fixed number: one counts at a time
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
    """The lift of every holdout within a year, counted now; one query of the log for all of them."""
    now = now or timezone.now()
    found = everything()
    return _lines(found, _counted(found, now), now)


def latest(now: datetime | None = None) -> list[Line]:
    """The same as it was counted last, without a query of the log; counted now where that was never done."""
    now = now or timezone.now()
    found = everything()
    rows = HoldoutMonth.objects.filter(experiment__in=[each.experiment for each in found])
    months: dict[str, dict[str, dict[str, Arm]]] = {}
    for row in rows:
        arm = Arm(
            key=row.arm,
            exposed=row.exposed,
            converted=row.converted,
            value=row.value,
            value_squares=row.value_squares,
        )
        months.setdefault(row.experiment, {}).setdefault(row.month, {})[row.arm] = arm
    if found and not months:
        return report(now)
    sides = [
        {
            month: [arms.get(key, Arm(key=key, exposed=0)) for key in SIDES]
            for month, arms in months.get(each.experiment, {}).items()
        }
        for each in found
    ]
    return _lines(found, sides, now)


def of(kind: str, number: int | None, now: datetime | None = None) -> Line | None:
    """The line of one holdout as `latest` has it: of a "flow", "message" or "broadcast"; None if it has none."""
    wanted = (kind, number)
    return next((line for line in latest(now) if (line.holdout.kind, line.holdout.number) == wanted), None)


@transaction.atomic
def keep(now: datetime | None = None) -> int:
    """Count every holdout anew for `latest`; how many there are. Whoever comes while somebody counts does nothing.

    It is counted before anything is written, for the log's readers wait for whoever writes; and where nothing came of
    it that was not known, nothing is written for a while, so that answers that depend on it stay as they are.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
    found = everything()
    rows = [
        HoldoutMonth(
            experiment=each.experiment,
            month=month,
            arm=arm.key,
            exposed=arm.exposed,
            converted=arm.converted,
            value=arm.value,
            value_squares=arm.value_squares,
            counted_at=now,
        )
        for each, months in zip(found, _counted(found, now), strict=True)
        for month, arms in months.items()
        for arm in arms
    ]
    known = list(HoldoutMonth.objects.all())
    if known and now - known[0].counted_at < SETTLED and set(map(_facts, known)) == set(map(_facts, rows)):
        return len(found)
    HoldoutMonth.objects.all().delete()
    HoldoutMonth.objects.bulk_create(rows, batch_size=1000)
    return len(found)


def counted_at() -> datetime | None:
    """When `keep` has counted last; None if never, or if there was nothing to count."""
    return HoldoutMonth.objects.aggregate(latest=Max("counted_at"))["latest"]


def _facts(row: HoldoutMonth) -> tuple[Any, ...]:
    return row.experiment, row.month, row.arm, row.exposed, row.converted, row.value, row.value_squares


Months = dict[str, list[Arm]]  # by month: who was held out, and who was not


def _counted(found: Sequence[Holdout], now: datetime) -> list[Months]:
    zone = geography.account_zone()
    since = datetime.combine(periods.last(DAYS, now).first, time(), zone)
    questions = [
        Question(
            experiment=each.experiment,
            arms=SIDES,
            goal=each.goal,
            window=each.window,
            value_property=each.amount,
            since=since,
            until=now,
            now=now,
        )
        for each in found
    ]
    return gathering.by_month(questions, zone.key)


def _lines(found: Sequence[Holdout], counted: Sequence[Months], now: datetime) -> list[Line]:
    sent = _sent({each.kind for each in found}, periods.last(DAYS, now))
    lines = []
    for each, months in zip(found, counted, strict=True):
        messages = sent[each.kind].get(each.number, 0)
        out, treated = (
            together([arms[side] for arms in months.values()] or [Arm(key=key, exposed=0)], key)
            for side, key in enumerate(SIDES)
        )
        lines.append(
            Line(
                each,
                lift(treated, out, messages=messages, days=_days(months, now)),
                [(month, lift(arms[1], arms[0])) for month, arms in sorted(months.items(), reverse=True)],
            )
        )
    return lines


def _sent(kinds: Collection[str], year: periods.Period) -> dict[str, dict[int | None, int]]:
    """How many messages were sent, by kind of holdout and by what has it; two queries at most for each kind.

    Of everything: all that is marketing. What a repeating broadcast sent counts for the one that it repeats.
    """
    sent: dict[str, dict[int | None, int]] = {
        kind: {key: each.sent for key, each in figures.by(kind, year).items()}
        for kind in {"message" if kind == "global" else kind for kind in kinds}
    }
    if "global" in kinds:
        marketing = Message.objects.filter(confirms=False).in_bulk()
        numbers = sent["message"]
        sent["global"] = {None: sum(numbers.get(pk, 0) for pk, each in marketing.items() if not each.exempt)}
    if "broadcast" in kinds:
        again = Broadcast.objects.filter(origin__isnull=False).values_list("pk", "origin_id")
        for pk, origin in again.iterator():
            if number := sent["broadcast"].get(pk):
                sent["broadcast"][origin] = sent["broadcast"].get(origin, 0) + number
    return sent


def _days(months: Months, now: datetime) -> float:
    """Since the first month in which anybody was compared."""
    if not months:
        return 0
    return max(
        1.0, (now - datetime.fromisoformat(f"{min(months)}-01T00:00:00+00:00")).total_seconds() / 86400
    )
