"""What is in the database, as parts of a bundle."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from campaigns.as_code import canonical
from campaigns.as_code.documents import (
    DEFAULT,
    FIRST_VARIANT,
    CouponPart,
    MessagePart,
    SegmentPart,
    TopicPart,
)
from campaigns.flows.definition import DefinitionError
from campaigns.models import Flow, Segment
from campaigns.segments.usage import segments_in
from crm.models import Connection, Topic
from delivery.models import CouponPool, Message

Section = dict[str, dict[str, Any]]
MODELS: dict[str, Any] = {
    "topics": Topic,
    "coupons": CouponPool,
    "segments": Segment,
    "messages": Message,
    "flows": Flow,
}


def section(name: str, slugs: Collection[str]) -> Section:
    """Those of a section that are there, as they stand in a bundle, by short name; two queries at most."""
    rows = MODELS[name].objects.filter(slug__in=[slug for slug in slugs if "\0" not in slug]).order_by("slug")
    if name == "messages":
        rows = rows.prefetch_related("contents", "variants")
    connections = dict(Connection.objects.values_list("pk", "slug")) if name == "flows" and slugs else {}
    return {row.slug: part(name, row, connections) for row in rows}


def part(name: str, row: Any, connections: dict[int, str] | None = None) -> dict[str, Any]:
    """One row of a section as it stands in a bundle.

    Args:
        connections: the short names of CRM connections by number.
    """
    if name == "flows":
        return _flow(row, connections or {})
    if name == "messages":
        return canonical.message(_message(row))
    if name == "coupons":
        return canonical.coupons(_pool(row))
    return canonical.plain(_topic(row) if name == "topics" else _segment(row))


def _flow(row: Flow, connections: dict[int, str]) -> dict[str, Any]:
    try:
        found = canonical.flow(row.name, row.description, row.draft or {})
    except DefinitionError:  # a draft of an older version
        found = {"name": row.name, "description": row.description, **canonical.ordered(row.draft)}
    for config in _crm_writes(found):
        if isinstance(config.get("connection"), int):
            config["connection"] = connections.get(config["connection"], str(config["connection"]))
    return found


def with_numbers(flow: dict[str, Any]) -> None:
    """Put the numbers of CRM connections in place of their short names; unknown ones stay."""
    configs = [config for config in _crm_writes(flow) if config.get("connection") not in (None, "all")]
    if configs:
        numbers = dict(Connection.objects.values_list("slug", "pk"))
        for config in configs:
            config["connection"] = numbers.get(config["connection"], config["connection"])


def _crm_writes(flow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for step in steps(flow.get("steps", [])):
        if step.get("kind") == "crm_write" and isinstance(step.get("config"), dict):
            yield step["config"]


def steps(sequence: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every step with those in its branches, in reading order."""
    for step in sequence:
        yield step
        for branch in step.get("branches", []):
            yield from steps(branch.get("steps", []))


def _message(row: Message) -> MessagePart:
    found = MessagePart(
        *(row.name, row.topic, row.important, row.confirms, row.goal_event, row.goal_window_hours),
        *(row.goal_value_property, row.expires_after_hours, row.adults_only, row.content_group),
        row.holdout_percent,
    )
    contents: dict[str, Any] = {}
    for content in row.contents.all():
        channels = contents.setdefault(content.variant, {})
        channels.setdefault(content.channel, {})[content.locale or DEFAULT] = content.content
    found.contents = contents.pop(FIRST_VARIANT, {})
    found.variants = contents
    for variant in row.variants.all():
        found.parts[variant.key] = variant.weight
        if variant.name:
            found.variant_names[variant.key] = variant.name
    return found


def _topic(row: Topic) -> TopicPart:
    return TopicPart(
        *(row.name, row.description, row.translations, row.shown, row.needs_yes, row.double_opt_in),
        row.legal_basis,
    )


def _pool(row: CouponPool) -> CouponPart:
    expires = canonical.moment_text(row.expires_at) if row.expires_at else None
    return CouponPart(row.name, row.kind, row.code, expires, row.low_mark, row.event_name, row.event_property)


def _segment(row: Segment) -> SegmentPart:
    rule = row.rule if row.kind == Segment.Kind.RULE else None
    return SegmentPart(row.name, row.description, str(row.kind), rule)


def references(name: str, found: dict[str, Any]) -> dict[str, set[str]]:
    """The short names in other sections that something in a bundle refers to, by section."""
    named: dict[str, set[str]] = {each: set() for each in MODELS}
    if name == "messages":
        named["topics"] |= {found["topic"]} if found.get("topic") else set()
    elif name == "segments":
        _in_rules(named, found.get("rule"))
    elif name == "flows":
        _in_rules(named, found)
        for step in steps(found.get("steps", [])):
            config = step.get("config", {})
            for kind, key, section_name in _STEP_NAMES:
                if step.get("kind") == kind and isinstance(config.get(key), str) and config[key]:
                    named[section_name].add(config[key])
    return named


_STEP_NAMES = (
    ("message", "message", "messages"),
    ("coupon", "pool", "coupons"),
    ("list_change", "list", "segments"),
    ("start_flow", "flow", "flows"),
    ("consent", "topic", "topics"),
)


def _in_rules(named: dict[str, set[str]], rule: Any) -> None:
    named["segments"] |= set(segments_in(rule))
    for node in _maps(rule):
        if node.get("kind") in ("flow", "message"):
            for key in ("flow", "message"):
                if isinstance(node.get(key), str) and "config" not in node:
                    named[f"{key}s"].add(node[key])


def _maps(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _maps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _maps(each)
