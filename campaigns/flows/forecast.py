"""What a change of a flow's life would do to how many people, asked before it is done. Nothing is written."""

from datetime import datetime, timedelta

import msgspec
from django.db.models import Count, Q
from django.utils import timezone

from campaigns.flows import comparing, moving, program
from campaigns.flows.comparing import Changes
from campaigns.flows.definition import Definition, parse, walk
from campaigns.models import Enrollment, Flow
from delivery.models import Delivery


class Pausing(msgspec.Struct):
    """People who would hold their place, messages that would wait, and how many of these a pause would outlast."""

    inside: int
    waiting: int
    lost_after_hour: int
    lost_after_day: int
    lost_after_week: int


class Resuming(msgspec.Struct):
    """People who would go on, of them those whose wait is over; messages that wait and those that are too late."""

    inside: int
    due: int
    waiting: int
    late: int


class Ending(msgspec.Struct):
    """People inside, and messages that wait."""

    inside: int
    waiting: int


class At(msgspec.Struct):
    """A step where people are. `stays`: the draft has it too; else `to` is where they would go, None: out."""

    key: str
    words: str
    here: int
    stays: bool
    to: str | None = None


class Publishing(msgspec.Struct):
    """What publishing the draft would change, and for whom. `steps` are those people can be put on."""

    first: bool
    changes: Changes
    inside: int
    at: list[At]
    steps: list[tuple[str, str]]

    @property
    def removed(self) -> list[At]:
        """Where people are that the draft does not have."""
        return [at for at in self.at if not at.stays]


def pausing(flow: Flow, now: datetime | None = None) -> Pausing:
    """What a pause from now on would do."""
    now = now or timezone.now()
    spans = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
    lost = {name: Count("pk", filter=Q(expires_at__lte=now + length)) for name, length in spans.items()}
    found = _waiting(flow).aggregate(waiting=Count("pk"), **lost)
    return Pausing(_inside(flow).count(), found["waiting"], found["hour"], found["day"], found["week"])


def resuming(flow: Flow, now: datetime | None = None) -> Resuming:
    """What going on now would do."""
    now = now or timezone.now()
    people = _inside(flow).aggregate(all=Count("pk"), due=Count("pk", filter=Q(due_at__lte=now)))
    messages = _waiting(flow).aggregate(all=Count("pk"), late=Count("pk", filter=Q(expires_at__lte=now)))
    return Resuming(people["all"], people["due"], messages["all"], messages["late"])


def ending(flow: Flow) -> Ending:
    """Whom stopping now takes out, or whom letting people finish leaves inside."""
    return Ending(_inside(flow).count(), _waiting(flow).count())


def publishing(flow: Flow) -> Publishing:
    """What publishing the draft would do.

    Raises:
        DefinitionError: the draft does not have the shape of a flow.
    """
    draft = parse(flow.draft or {})
    new = program.link(draft)
    live = parse(flow.live_version.definition) if flow.live_version else Definition()
    here: dict[str, int] = {}
    suggested: moving.StepMap = {}
    words = {step.key: comparing.words(step) for step, _depth in walk(draft.steps)}
    counted = _inside(flow).values_list("version_id", "step").annotate(n=Count("pk")).order_by()
    for version_id, key, number in counted:
        old = moving.before(version_id)
        here[key] = here.get(key, 0) + number
        suggested |= moving.suggested(old, new)
        if key not in words:
            node = old.nodes.get(key)
            words[key] = comparing.words(node.step) if node else key
    order = {key: index for index, key in enumerate([*new.nodes, *here])}
    at = [
        At(key, words[key], number, key in new.nodes, suggested.get(key))
        for key, number in sorted(here.items(), key=lambda item: order[item[0]])
    ]
    listed = [(step.key, words[step.key]) for step, _depth in walk(draft.steps)]
    first = flow.live_version is None
    return Publishing(first, comparing.compare(live, draft), sum(here.values()), at, listed)


def _inside(flow: Flow):
    return flow.enrollments.filter(state=Enrollment.State.ACTIVE)


def _waiting(flow: Flow):
    return Delivery.objects.filter(
        origin_type=Delivery.Origin.FLOW, origin_id=flow.pk, state__in=Delivery.WAITING
    )
