"""Where a segment is used, so that nobody deletes or changes it unawares."""

from collections.abc import Callable, Iterator
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.models import Broadcast, Flow, Segment
from campaigns.segments.computed import PREFIX
from crm import retention
from crm.computed.usage import Use
from crm.rules import moments


def uses() -> dict[str, list[Use]]:
    """Everything that uses each segment, by the segment's slug; three queries however many there are."""
    found: dict[str, list[Use]] = {}
    for broadcast in Broadcast.objects.select_related("segment"):
        url = reverse("admin:campaigns_broadcast_change", args=[broadcast.pk])
        found.setdefault(broadcast.segment.slug, []).append(
            Use(_("the broadcast “%s”") % broadcast.name, url)
        )
    _add(found, _segments)
    return found


def computed_uses() -> dict[str, list[Use]]:
    """The flows and segments whose rules name each computed attribute, by the attribute's slug; two queries."""
    found: dict[str, list[Use]] = {}
    _add(found, _computed)
    return found


def event_uses() -> dict[str, list[retention.Use]]:
    """The segments and flows that look back at events, by the event's name, with how many days they do."""
    found: dict[str, list[retention.Use]] = {}

    def add(data: Any, text: str) -> None:
        for node in _nodes(data):
            if node.get("kind") == "event" and isinstance(node.get("name"), str):
                found.setdefault(node["name"], []).append(retention.Use(text, _days(node.get("within"))))

    for flow in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version"):
        for definition in (flow.draft, flow.live_version and flow.live_version.definition):
            # What starts a flow is read as it happens; only the conditions inside look back.
            add((definition or {}).get("steps"), _("the flow “%s”") % flow.name)
    for segment in Segment.objects.all():
        add(segment.rule, _("the segment “%s”") % segment.name)
    return found


def _days(within: Any) -> int | None:
    """How far back a condition's window reaches, in whole days; None: to the beginning, or to a fixed day."""
    last = within.get("last") if isinstance(within, dict) else None
    if not isinstance(last, dict):
        return None
    return -(-int(moments.Span(**last).length.total_seconds()) // 86_400)


def _add(found: dict[str, list[Use]], named: Callable[[Any], Iterator[str]]) -> None:
    """Note the flows and segments in which `named` finds something."""

    def add(data: Any, text: str, url_name: str, pk: int) -> None:
        for slug in set(named(data)):
            url = reverse(f"admin:campaigns_{url_name}_change", args=[pk])
            found.setdefault(slug, []).append(Use(text, url))

    for flow in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version"):
        definitions = [flow.draft, flow.live_version and flow.live_version.definition]
        add(definitions, _("the flow “%s”") % flow.name, "flow", flow.pk)
    for segment in Segment.objects.all():
        add(segment.rule, _("the segment “%s”") % segment.name, "segment", segment.pk)


def _segments(data: Any) -> Iterator[str]:
    """Slugs of the segments that a rule, or a flow's definition, refers to."""
    for node in _nodes(data):
        if node.get("kind") == "segment" and isinstance(node.get("slug"), str):
            yield node["slug"]


def _computed(data: Any) -> Iterator[str]:
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
