"""Where a segment is used, so that nobody deletes or changes it unawares."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.models import Broadcast, Flow, Segment


class Use(NamedTuple):
    """One thing that needs the segment: in words, with the address of its page."""

    text: str
    url: str


def uses() -> dict[str, list[Use]]:
    """Everything that uses each segment, by the segment's slug; three queries however many there are."""
    found: dict[str, list[Use]] = {}

    def add(slugs: set[str], text: str, url_name: str, pk: int) -> None:
        for slug in slugs:
            found.setdefault(slug, []).append(
                Use(text, reverse(f"admin:campaigns_{url_name}_change", args=[pk]))
            )

    for broadcast in Broadcast.objects.select_related("segment"):
        add({broadcast.segment.slug}, _("the broadcast “%s”") % broadcast.name, "broadcast", broadcast.pk)
    for flow in Flow.objects.exclude(state=Flow.State.STOPPED).select_related("live_version"):
        definitions = [flow.draft, flow.live_version and flow.live_version.definition]
        add(set(_named(definitions)), _("the flow “%s”") % flow.name, "flow", flow.pk)
    for segment in Segment.objects.all():
        add(set(_named(segment.rule)), _("the segment “%s”") % segment.name, "segment", segment.pk)
    return found


def _named(data: Any) -> Iterator[str]:
    """Slugs of the segments that a rule, or a flow's definition, refers to."""
    if isinstance(data, dict):
        if data.get("kind") == "segment" and isinstance(data.get("slug"), str):
            yield data["slug"]
        for value in data.values():
            yield from _named(value)
    elif isinstance(data, list):
        for value in data:
            yield from _named(value)
