"""Where a segment is used, so that nobody deletes or changes it unawares."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.models import Broadcast, Experiment, Flow, Segment
from campaigns.segments.computed import PREFIX
from campaigns.segments.conditions import message
from crm import retention
from crm.computed.usage import Use
from crm.rules import moments

# Events that tell of a segment in this property of theirs; a flow may start by them.
MEMBERSHIP_EVENTS = ("segment_entered", "segment_left")


def uses() -> dict[str, list[Use]]:
    """Everything that uses each segment or list, by its slug; four queries however many there are."""
    found: dict[str, list[Use]] = {}
    left_out = ArrayAgg("exclusions__slug", filter=Q(exclusions__isnull=False), default=[])
    for broadcast in Broadcast.objects.select_related("segment").annotate(left_out=left_out):
        url = reverse("admin:campaigns_broadcast_change", args=[broadcast.pk])
        for slug in {broadcast.segment.slug, *broadcast.left_out}:
            found.setdefault(slug, []).append(Use(_("the broadcast “%s”") % broadcast.name, url))
    for named, use in _compared():
        for slug in named:
            found.setdefault(slug, []).append(use)
    _add(found, segments_in)
    return found


def live_uses(slug: str) -> list[Use]:
    """The flows that ask about this segment as they run now, the broadcasts that have yet to go to it, and experiments.

    Segments made of it are followed: what uses them uses it, too. Four queries.
    """
    rules = {segment.slug: segment for segment in Segment.objects.all()}
    reached, waiting = {slug}, [slug]
    while waiting:
        named = waiting.pop()
        for other, segment in rules.items():
            if other not in reached and named in segments_in(segment.rule):
                reached.add(other)
                waiting.append(other)
    found = []
    running = (Flow.State.LIVE, Flow.State.PAUSED, Flow.State.FINISHING)
    flows = Flow.objects.filter(state__in=running).select_related("live_version")
    for flow in flows:
        definition = flow.live_version.definition if flow.live_version else {}
        if reached & set(segments_in(definition)):
            url = reverse("admin:campaigns_flow_change", args=[flow.pk])
            found.append(
                Use(
                    _flow_text(flow, _places([definition], lambda part: reached & set(segments_in(part)))),
                    url,
                )
            )
    asked = Q(segment__slug__in=reached) | Q(exclusions__slug__in=reached)
    drafts = Broadcast.objects.filter(asked, started_at=None, audience=None).exclude(state__in=Broadcast.OVER)
    found += [
        Use(_("the broadcast “%s”") % each.name, reverse("admin:campaigns_broadcast_change", args=[each.pk]))
        for each in drafts.distinct().order_by("pk")
    ]
    return found + [use for named, use in _compared() if reached & named]


def _compared() -> list[tuple[set[str], Use]]:
    """Experiments on audiences that are not over, with their segments."""
    over = (Experiment.State.DECIDED, Experiment.State.STOPPED)
    experiments = Experiment.objects.filter(subject=Experiment.Subject.AUDIENCE).exclude(state__in=over)
    return [
        (
            {arm["segment"] for arm in each.arms if arm.get("segment")},
            Use(
                _("the experiment “%s”") % each.name,
                reverse("admin:campaigns_experiment_change", args=[each.pk]),
            ),
        )
        for each in experiments.order_by("pk")
    ]


def flow_uses() -> dict[str, list[Use]]:
    """The segments and other flows whose rules ask who is or was in each flow, by the flow's slug; two queries."""
    found: dict[str, list[Use]] = {}
    _add(found, _flows)
    return found


def computed_uses() -> dict[str, list[Use]]:
    """The flows and segments whose rules name each computed attribute, by the attribute's slug; two queries."""
    found: dict[str, list[Use]] = {}
    _add(found, computed_in)
    return found


def message_uses() -> dict[str, list[Use]]:
    """Everything that uses each message, by its slug: flows, rules, broadcasts, experiments; four queries."""
    found: dict[str, list[Use]] = {}
    _add(found, _messages)
    for broadcast in Broadcast.objects.select_related("message"):
        url = reverse("admin:campaigns_broadcast_change", args=[broadcast.pk])
        use = Use(_("the broadcast “%s”") % broadcast.name, url)
        found.setdefault(broadcast.message.slug, []).append(use)
    experiments = Experiment.objects.exclude(message=None).values_list("pk", "name", "message__slug")
    for number, name, slug in experiments:
        url = reverse("admin:campaigns_experiment_change", args=[number])
        found.setdefault(slug, []).append(Use(_("the experiment “%s”") % name, url))
    return found


def pool_uses() -> dict[str, list[Use]]:
    """The flows that give codes of each coupon pool, by the pool's short name; two queries."""
    found: dict[str, list[Use]] = {}
    _add(found, _pools)
    return found


def event_uses() -> dict[str, list[retention.Use]]:
    """The segments and flows that look back at events, by the event's name, with how many days they do."""
    found: dict[str, list[retention.Use]] = {}

    def add(data: Any, text: str) -> None:
        for node in _nodes(data):
            for name in _looked_at(node):
                found.setdefault(name, []).append(retention.Use(text, _days(node.get("within"))))

    for flow in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version"):
        for definition in (flow.draft, flow.live_version and flow.live_version.definition):
            # What starts a flow is read as it happens, but for one that counts; only the conditions inside look back.
            text = _("the flow “%s”") % flow.name
            if counted := _counted(definition):
                found.setdefault(counted[0], []).append(retention.Use(text, counted[1]))
            add((definition or {}).get("steps"), text)
            add((definition or {}).get("entry"), text)
    for segment in Segment.objects.all():
        add(segment.rule, _("the segment “%s”") % segment.name)
    return found


def _counted(definition: Any) -> tuple[str, int] | None:
    """The event that starts a flow when it has come several times, and within how many days."""
    trigger = (definition or {}).get("trigger")
    count = trigger.get("count") if isinstance(trigger, dict) else None
    name, days = (trigger or {}).get("name"), count.get("within_days") if isinstance(count, dict) else None
    return (name, days) if isinstance(name, str) and isinstance(days, int) else None


def _looked_at(node: dict[str, Any]) -> Iterator[str]:
    """Names of the events that a condition counts; what must not follow lies in the same window."""
    if node.get("kind") == "event":
        following = node.get("not_followed_by")
        for name in (node.get("name"), following.get("name") if isinstance(following, dict) else None):
            if isinstance(name, str):
                yield name
    elif node.get("kind") == "message" and isinstance(node.get("did"), str):
        yield from message.EVENTS.get(node["did"], ())


def _days(within: Any) -> int | None:
    """How far back a condition's window reaches, in whole days; None: to the beginning, or to a fixed day."""
    last = within.get("last") if isinstance(within, dict) else None
    if not isinstance(last, dict):
        return None
    return -(-int(moments.Span(**last).length.total_seconds()) // 86_400)


def _add(found: dict[str, list[Use]], named: Callable[[Any], Iterator[str]]) -> None:
    """Note the flows and segments in which `named` finds something."""
    for flow in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version"):
        definitions = [flow.draft or {}, flow.live_version.definition if flow.live_version else {}]
        url = reverse("admin:campaigns_flow_change", args=[flow.pk])
        for slug in dict.fromkeys(named(definitions)):
            places = _places(definitions, partial(_names, named, slug))
            found.setdefault(slug, []).append(Use(_flow_text(flow, places), url))
    for segment in Segment.objects.all():
        url = reverse("admin:campaigns_segment_change", args=[segment.pk])
        for slug in dict.fromkeys(named(segment.rule)):
            found.setdefault(slug, []).append(Use(_("the segment “%s”") % segment.name, url))


def _names(named: Callable[[Any], Iterator[str]], slug: str, part: Any) -> bool:
    return slug in named(part)


def _flow_text(flow: Flow, places: list[str]) -> str:
    text = _("the flow “%s”") % flow.name
    return f"{text} ({', '.join(places)})" if places else text


def _places(definitions: Iterable[dict[str, Any]], holds: Callable[[Any], Any]) -> list[str]:
    """Where in a flow's definitions something is used: its parts and steps in words, each once."""
    found: list[str] = []
    for definition in definitions:
        for part, words in (
            ("trigger", _("what starts it")),
            ("entry", _("who may enter")),
            ("exit_on", _("what ends it early")),
        ):
            if holds(definition.get(part)):
                found.append(words)
        found += _step_places(definition.get("steps"), holds)
    return list(dict.fromkeys(found))


def _step_places(steps: Any, holds: Callable[[Any], Any]) -> Iterator[str]:
    for step in steps if isinstance(steps, list) else []:
        if not isinstance(step, dict):
            continue
        branches = [branch for branch in step.get("branches") or [] if isinstance(branch, dict)]
        own = {"kind": step.get("kind"), "config": step.get("config")}
        if holds(own) or any(holds(branch.get("rule")) for branch in branches):
            yield _step_text(step)
        for branch in branches:
            yield from _step_places(branch.get("steps"), holds)


def _step_text(step: dict[str, Any]) -> str:
    from campaigns.flows import steps  # it imports the rules' language, which this module serves

    kind = steps.registry.get(str(step.get("kind")))
    config = step.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    label = str(kind.label) if kind else str(step.get("kind"))
    return _("step “%s”") % (name or label)


def segments_in(data: Any) -> Iterator[str]:
    """Slugs of the segments and lists that a rule, or a flow's definition, refers to."""
    for node in _nodes(data):
        if node.get("kind") in ("segment", "list") and isinstance(node.get("slug"), str):
            yield node["slug"]
        if node.get("kind") in ("segment", "schedule") and isinstance(node.get("segment"), str):
            yield node["segment"]  # what starts a flow
        if node.get("kind") == "event" and node.get("name") in MEMBERSHIP_EVENTS:
            where = node.get("where")
            for condition in where if isinstance(where, list) else []:
                if isinstance(condition, dict) and condition.get("property") == "segment":
                    value = condition.get("value")
                    yield from (
                        each
                        for each in (value if isinstance(value, list) else [value])
                        if isinstance(each, str)
                    )


def _flows(data: Any) -> Iterator[str]:
    """Slugs of the flows that a rule's conditions ask about."""
    for node in _nodes(data):
        if node.get("kind") in ("flow", "message") and isinstance(node.get("flow"), str):
            yield node["flow"]


def _messages(data: Any) -> Iterator[str]:
    """Slugs of the messages that a flow's steps send and that conditions ask about."""
    for node in _nodes(data):
        if node.get("kind") == "message":
            yield from _named(node, "message")


def _pools(data: Any) -> Iterator[str]:
    """Slugs of the coupon pools whose codes a flow's steps give."""
    for node in _nodes(data):
        if node.get("kind") == "coupon":
            yield from _named(node, "pool")


def _named(node: dict[str, Any], name: str) -> Iterator[str]:
    """What a condition, or a step's settings, call by this name."""
    for place in (node, node.get("config")):
        if isinstance(place, dict) and isinstance(place.get(name), str):
            yield place[name]


def computed_in(data: Any) -> Iterator[str]:
    """Slugs of the computed attributes that it asks for."""
    for node in _nodes(data):
        field = node.get("field")
        if node.get("kind") == "attribute" and isinstance(field, str) and field.startswith(PREFIX):
            yield field.removeprefix(PREFIX)


def _nodes(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        yield data
        for value in data.values():
            yield from _nodes(value)
    elif isinstance(data, list):
        for value in data:
            yield from _nodes(value)
