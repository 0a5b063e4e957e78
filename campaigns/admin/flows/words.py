"""What a flow's settings say, each in a few words: for the trigger's card and the folded sections of its panel."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.flows import event_words
from campaigns.flows.definition import Definition, DefinitionError, parse
from campaigns.flows.waiting_words import moment
from campaigns.segments import grammar, sentence
from crm.rules.errors import RuleError

WEEKDAYS = [
    (1, gettext_lazy("Mon")),
    (2, gettext_lazy("Tue")),
    (3, gettext_lazy("Wed")),
    (4, gettext_lazy("Thu")),
    (5, gettext_lazy("Fri")),
    (6, gettext_lazy("Sat")),
    (7, gettext_lazy("Sun")),
]
# The parts of a definition that are set in the trigger's panel.
TRIGGER_PARTS = (
    "trigger",
    "exit_on",
    "exit_rule",
    "entry",
    "recheck_entry",
    "key",
    "reentry",
    "goal",
    "window",
    "when_limited",
    "priority",
    "holdout_percent",
    "starts_at",
    "ends_at",
)


def rule_sentence(rule: dict[str, Any]) -> str:
    """A rule in words, or that it is not finished."""
    try:
        return sentence.describe(grammar.parse(rule))
    except RuleError:
        return _("This rule is not finished.")


def sections(draft: dict[str, Any]) -> dict[str, str]:
    """Each section of the trigger's panel in one line, by its name."""
    try:
        definition = parse({**draft, "steps": []})
    except DefinitionError:
        return dict.fromkeys(("entry", "often", "exit", "goal", "sending", "limits"), "")
    return {
        "entry": rule_sentence(definition.entry) if definition.entry is not None else _("Everybody"),
        "often": often(definition),
        "exit": exits(definition) or _("Nothing"),
        "goal": goal(definition) or _("None"),
        "sending": sending(definition) or _("At any time, as usual"),
        "limits": limits(definition) or _("Nobody is held out; no dates"),
    }


def notes(definition: Definition) -> list[str]:
    """What is set apart from the trigger itself, for its card."""
    found = []
    if definition.entry is not None:
        found.append(_("Only: %s") % rule_sentence(definition.entry))
    found.append(often(definition))
    if gone := exits(definition):
        found.append(_("Leaves on: %s") % gone)
    if aim := goal(definition):
        found.append(_("Goal: %s") % aim)
    if when := sending(definition):
        found.append(_("Messages: %s") % when)
    return found + [text for text in (limits(definition),) if text]


def often(definition: Definition) -> str:
    """Who may enter again."""
    if definition.key:
        return _("One run for each %s") % definition.key.removeprefix("properties.")
    days = definition.reentry.days or 0
    if definition.reentry.mode == "after":
        text = ngettext("May enter again after %d day", "May enter again after %d days", days)
        return text % days
    if definition.reentry.mode == "always":
        return _("May enter again, once out")
    return _("Once per person")


def exits(definition: Definition) -> str:
    """What ends a run early; empty if nothing does."""
    names = [event_words.words(trigger.name) for trigger in definition.exit_on]
    if definition.exit_rule is not None:
        names.append(rule_sentence(definition.exit_rule))
    return ", ".join(names)


def goal(definition: Definition) -> str:
    """What the flow is for; empty if nothing is set."""
    if definition.goal is None:
        return ""
    days = definition.goal.within_days
    text = ngettext("%(event)s within %(days)d day", "%(event)s within %(days)d days", days)
    return text % {"event": event_words.words(definition.goal.name), "days": days}


def sending(definition: Definition) -> str:
    """When messages go out, if anything about it is unusual."""
    found = []
    if definition.window is not None:
        window = definition.window
        span = f"{window.start}–{window.end}"
        found.append(span if len(window.days) == 7 else f"{span}, {_days(window.days)}")
    if definition.when_limited == "skip":
        found.append(_("left out when limited"))
    if definition.priority != 3:
        found.append(_("priority %d") % definition.priority)
    return ", ".join(found)


def limits(definition: Definition) -> str:
    """Who is held out, and between which dates people enter, if anything is set."""
    found = []
    if definition.holdout_percent:
        found.append(_("%s %% held out") % f"{definition.holdout_percent:g}")
    if definition.starts_at:
        found.append(_("from %s") % moment(definition.starts_at))
    if definition.ends_at:
        found.append(_("until %s") % moment(definition.ends_at))
    return ", ".join(found)


def _days(days: list[int]) -> str:
    names = dict(WEEKDAYS)
    return ", ".join(str(names[day]) for day in days if day in names)
