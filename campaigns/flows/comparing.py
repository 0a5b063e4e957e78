"""What two definitions of a flow have different, in the words of those who edit it."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.flows import steps, triggers
from campaigns.flows.definition import Definition, DefinitionError, Step, parse, walk
from campaigns.segments import grammar, sentence
from campaigns.segments.conditions.base import Condition
from crm.rules.errors import RuleError
from delivery.models import Message


class Change(msgspec.Struct, frozen=True):
    """One part that differs: what it is, and how it was and will be, in words ("" for nothing)."""

    about: str
    before: str = ""
    after: str = ""


class Changes(msgspec.Struct):
    """All that differs. Steps are told in words; `messages` are those that begin or cease to be sent."""

    settings: list[Change] = []
    added: list[str] = []
    removed: list[str] = []
    moved: list[str] = []
    changed: list[Change] = []
    messages: list[Change] = []

    def __bool__(self) -> bool:
        return any([self.settings, self.added, self.removed, self.moved, self.changed, self.messages])


def compare(before: Definition, after: Definition) -> Changes:
    """What `after` has different from `before`."""
    old = {step.key: step for step, _depth in walk(before.steps)}
    new = {step.key: step for step, _depth in walk(after.steps)}
    places_before, places_after = _places(before.steps), _places(after.steps)
    kept = [key for key in new if key in old]
    return Changes(
        settings=_settings(before, after),
        added=[words(step) for key, step in new.items() if key not in old],
        removed=[words(step) for key, step in old.items() if key not in new],
        moved=[
            words(new[key])
            for key in kept
            if _standing(places_before, key, new) != _standing(places_after, key, old)
        ],
        changed=[
            Change(str(_label(new[key])), details(old[key]), details(new[key]))
            for key in kept
            if _content(old[key]) != _content(new[key])
        ],
        messages=_messages(old, new),
    )


def read(definition: dict[str, Any] | None) -> Definition:
    """A stored definition; an empty one if it does not have the shape of a flow."""
    try:
        return parse(definition or {})
    except DefinitionError:
        return Definition()


def in_order(definition: Definition) -> list[Step]:
    """All steps, as they are read."""
    return [step for step, _depth in walk(definition.steps)]


def words(step: Step) -> str:
    """A step in a line, such as “Wait: 2 days”."""
    kind = steps.registry.get(step.kind)
    if kind is None:
        return step.kind
    summary = str(kind.summary(step))
    return f"{kind.label}: {summary}" if summary and summary != str(kind.label) else str(kind.label)


def details(step: Step) -> str:
    """A step's settings with its branches, condition and note, in a line."""
    kind = steps.registry.get(step.kind)
    parts = [str(kind.summary(step)) if kind else step.kind]
    for branch in step.branches:
        said = f"{branch.percent:g} %" if branch.percent is not None else rule_words(branch.rule)
        parts.append(f"{branch.name}: {said}" if said else branch.name)
    if step.condition is not None:
        parts.append(_("only if %s") % rule_words(step.condition))
    if step.note:
        parts.append(_("note: %s") % step.note)
    return " · ".join(part for part in parts if part)


def rule_words(rule: dict[str, Any] | None) -> str:
    """A rule as a sentence; "" for none."""
    if rule is None:
        return ""
    try:
        return sentence.describe(grammar.parse(rule))
    except RuleError:
        return _("This rule is not finished.")


def _label(step: Step) -> Any:
    kind = steps.registry.get(step.kind)
    return kind.label if kind else step.kind


def _content(step: Step) -> tuple:
    branches = [(branch.name, branch.rule, branch.percent) for branch in step.branches]
    return step.kind, step.config, branches, step.condition, step.note


def _places(sequence: list[Step], place: str = "") -> dict[str, tuple[str, list[str]]]:
    """Of each step, its sequence and the keys before it there."""
    found = {}
    for index, step in enumerate(sequence):
        found[step.key] = (place, [earlier.key for earlier in sequence[:index]])
        for number, branch in enumerate(step.branches):
            found |= _places(branch.steps, f"{step.key}:{number}")
    return found


def _standing(
    places: dict[str, tuple[str, list[str]]], key: str, common: dict[str, Step]
) -> tuple[str, list[str]]:
    """Where a step stands among those that both have, so that an addition moves nobody."""
    place, earlier = places[key]
    return place, [other for other in earlier if other in common]


def _messages(old: dict[str, Step], new: dict[str, Step]) -> list[Change]:
    """Messages that only one of the two sends."""
    before, after = (_sent(each) for each in (old, new))
    gone = [slug for slug in before if slug not in after]
    come = [slug for slug in after if slug not in before]
    names = (
        dict(Message.objects.filter(slug__in=[*gone, *come]).values_list("slug", "name"))
        if gone or come
        else {}
    )
    return [
        *(Change(_("No longer sent"), names.get(slug, slug)) for slug in gone),
        *(Change(_("Sent from now on"), "", names.get(slug, slug)) for slug in come),
    ]


def _sent(found: dict[str, Step]) -> list[str]:
    slugs = [step.config.get("message") for step in found.values()]
    return list(dict.fromkeys(slug for slug in slugs if isinstance(slug, str) and slug))


def _settings(before: Definition, after: Definition) -> list[Change]:
    parts = [
        (_("What starts it"), lambda each: triggers.summary(each), ("trigger",)),
        (_("Who may enter"), lambda each: rule_words(each.entry) or _("everybody"), ("entry",)),
        (
            _("Asked again before each message"),
            lambda each: _yes(each.recheck_entry),
            ("recheck_entry",),
        ),
        (_("How often"), reentry_words, ("key", "reentry")),
        (_("What ends it early"), exit_words, ("exit_on", "exit_rule")),
        (_("Goal"), goal_words, ("goal",)),
        (_("When messages go out"), window_words, ("window",)),
        (_("What does not fit"), limited_words, ("when_limited",)),
        (_("Priority"), lambda each: str(each.priority), ("priority",)),
        (_("Share that gets nothing"), lambda each: f"{each.holdout_percent:g} %", ("holdout_percent",)),
        (_("First day"), lambda each: each.starts_at or "–", ("starts_at",)),
        (_("Last day"), lambda each: each.ends_at or "–", ("ends_at",)),
    ]
    return [
        Change(about, say(before), say(after))
        for about, say, names in parts
        if any(getattr(before, name) != getattr(after, name) for name in names)
    ]


def _yes(value: bool) -> str:
    return _("yes") if value else _("no")


def reentry_words(definition: Definition) -> str:
    """How often somebody may run through."""
    if definition.key:
        return _("once for each %s") % definition.key.removeprefix("properties.")
    if definition.reentry.mode == "always":
        return _("again, once they are out")
    if definition.reentry.mode == "after":
        days = definition.reentry.days or 0
        return ngettext("again after %d day", "again after %d days", days) % days
    return _("once per person")


def exit_words(definition: Definition) -> str:
    """What ends runs early."""
    parts = [_event_words(trigger.name, trigger.where) for trigger in definition.exit_on]
    if definition.exit_rule is not None:
        parts.append(rule_words(definition.exit_rule))
    return "; ".join(parts) or _("nothing")


def goal_words(definition: Definition) -> str:
    """What the flow is for."""
    goal = definition.goal
    if goal is None:
        return _("none")
    within = ngettext("within %d day", "within %d days", goal.within_days) % goal.within_days
    parts = [_event_words(goal.name, goal.where), within]
    if goal.value:
        parts.append(_("worth %s") % goal.value)
    parts.append(_("and they leave") if goal.exit else _("and they stay"))
    return ", ".join(parts)


def window_words(definition: Definition) -> str:
    """When messages may go out by the clock on the person's wall."""
    window = definition.window
    if window is None:
        return _("at any time")
    days = "" if len(set(window.days)) == 7 else " " + ", ".join(str(day) for day in sorted(window.days))
    return _("from %(start)s to %(end)s") % {"start": window.start, "end": window.end} + days


def limited_words(definition: Definition) -> str:
    """What becomes of messages that meet quiet hours or a cap."""
    return _("waits until it fits") if definition.when_limited == "defer" else _("is left out")


def _event_words(name: str, where: list[dict[str, Any]]) -> str:
    try:
        rule = grammar.parse({"kind": "event", "name": name, **({"where": where} if where else {})})
    except RuleError:
        return name
    return rule.describe() if isinstance(rule, Condition) else name
