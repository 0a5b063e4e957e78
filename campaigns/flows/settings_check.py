"""What is wrong with a flow's own settings, those that are not its trigger's or a step's."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from campaigns.segments import grammar
from crm.rules.errors import Problem, RuleError

if TYPE_CHECKING:
    from campaigns.flows.definition import Definition, EventTrigger, Goal, Window

LONGEST_GOAL = 365  # days
LONGEST_REENTRY = 3650  # days
PRIORITIES = range(1, 6)  # 1 goes first
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def problems(definition: "Definition") -> Iterator[Problem]:
    """Every mistake at the path of its setting, with what to do."""
    for index, trigger in enumerate(definition.exit_on):
        yield from event_problems(trigger, f"exit_on[{index}]")
    for path, rule in (("entry", definition.entry), ("exit_rule", definition.exit_rule)):
        if rule is not None:
            yield from rule_problems(rule, path)
    if definition.key is not None and not _is_property(definition.key):
        yield Problem("key", _("The key is a property of the event, such as properties.cart_id."))
    if definition.reentry.mode == "after" and not 0 < (definition.reentry.days or 0) <= LONGEST_REENTRY:
        yield Problem("reentry.days", _("Say after how many days somebody may enter again."))
    if definition.goal is not None:
        yield from _goal(definition.goal)
    if definition.window is not None:
        yield from _window(definition.window)
    if definition.priority not in PRIORITIES:
        yield Problem("priority", _("Choose a priority from 1 (first) to 5."))
    if not 0 <= definition.holdout_percent < 100:
        yield Problem("holdout_percent", _("Hold out from 0 to 99 percent; with 100 nobody would enter."))
    yield from _dates(definition)


def event_problems(trigger: "EventTrigger | Goal", path: str) -> list[Problem]:
    """What is wrong with an event and the filters on its properties."""
    if not trigger.name.strip():
        return [Problem(f"{path}.name", _("Choose an event."))]
    rule = {"kind": "event", "name": trigger.name, **({"where": trigger.where} if trigger.where else {})}
    return rule_problems(rule, path)


def rule_problems(rule: dict, path: str) -> list[Problem]:
    """What is wrong with a segment rule, each mistake at its node below `path`."""
    try:
        grammar.parse(rule)
    except RuleError as error:
        return list(error.under(path).problems)
    return []


def _goal(goal: "Goal") -> Iterator[Problem]:
    yield from event_problems(goal, "goal")
    if not 0 < goal.within_days <= LONGEST_GOAL:
        yield Problem("goal.within_days", _("Count the goal for 1 to %d days after entering.") % LONGEST_GOAL)
    if goal.value and not _is_property(f"properties.{goal.value}"):
        yield Problem("goal.value", _("Name a property of the event that holds the amount, such as total."))


def _window(window: "Window") -> Iterator[Problem]:
    for name, value in (("from", window.start), ("to", window.end)):
        if not _CLOCK.fullmatch(value):
            yield Problem(f"window.{name}", _("Give a time such as 09:00."))
    if window.start == window.end:
        yield Problem("window.to", _("The window is empty; let it end at another time than it starts."))
    if not window.days or not set(window.days) <= set(range(1, 8)):
        yield Problem("window.days", _("Choose at least one day of the week."))


def _dates(definition: "Definition") -> Iterator[Problem]:
    found: dict[str, datetime] = {}
    for name, value in (("starts_at", definition.starts_at), ("ends_at", definition.ends_at)):
        if value is None:
            continue
        try:
            found[name] = datetime.fromisoformat(value)
        except ValueError:
            yield Problem(name, _("Give a date and time, such as 2030-05-01T09:00+02:00."))
            continue
        if found[name].tzinfo is None:
            yield Problem(name, _("Say in which time zone this is, such as 2030-05-01T09:00+02:00."))
            return
    if len(found) == 2 and found["ends_at"] <= found["starts_at"]:
        yield Problem("ends_at", _("The flow would end before it starts."))


def _is_property(path: str) -> bool:
    first, *rest = path.split(".")
    return first == "properties" and bool(rest) and all(part.strip() for part in rest)
