"""What a trial of a flow found, in few words."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows import entries, exits, guards, steps
from campaigns.flows.definition import Definition, Step, walk
from campaigns.flows.simulated_counts import Note
from campaigns.flows.simulated_sending import UNKNOWN
from campaigns.flows.steps.message import channel_label
from delivery.policies import consent, preferences, reachability, suppression

STOPPED = {
    consent.NO_CONSENT: gettext_lazy("No consent"),
    consent.NOTHING_TO_CONFIRM: gettext_lazy("Nothing to confirm"),
    consent.ASKED_ALREADY: gettext_lazy("Asked for a confirmation already"),
    suppression.SUPPRESSED: gettext_lazy("The address is suppressed"),
    reachability.NO_DEVICE: gettext_lazy("No device or address"),
    preferences.ONLY_IMPORTANT: gettext_lazy("They want only what is important"),
    preferences.QUIET: gettext_lazy("Quiet hours"),
    preferences.WEEKLY_LIMIT: gettext_lazy("One message a week at most"),
    guards.OUTSIDE: gettext_lazy("Outside of the flow's send window"),
    guards.NOT_ENTITLED: gettext_lazy("The entry rule was no longer met"),
    UNKNOWN: gettext_lazy("The message does not exist"),
    "expired": gettext_lazy("Too late by the time it fitted"),
}
REFUSED = {
    entries.RULE: gettext_lazy("The entry rule was not met"),
    entries.INSIDE: gettext_lazy("Inside already"),
    entries.ONCE: gettext_lazy("Had been in it before"),
    entries.TOO_SOON: gettext_lazy("Had been in it too lately"),
    entries.TOO_OFTEN: gettext_lazy("Had entered too often within an hour"),
    entries.NO_KEY: gettext_lazy("The event lacked what tells runs apart"),
    entries.NO_DATE: gettext_lazy("The event had no date to wait for"),
    entries.PAST_DATE: gettext_lazy("The date was past already"),
    entries.TOO_EARLY: gettext_lazy("Before the flow begins"),
    entries.TOO_LATE: gettext_lazy("After the flow is over"),
}


def hidden() -> str:
    """That the reader may not know what a flow does to whom."""
    return _("A rule of this flow compares with contact data, which you may not see.")


def refused(reason: str) -> str:
    """Why somebody was not let in."""
    return str(REFUSED.get(reason, reason))


def stopped(reason: str) -> str:
    """Why a message was not sent, or had to wait."""
    if reason.startswith("exit: "):
        return _("Left the flow: %s") % ended(reason.removeprefix("exit: "))
    return str(STOPPED.get(reason, reason))


def ended(reason: str) -> str:
    """Why a run ended."""
    if reason == exits.RULE:
        return _("met the exit rule")
    return _("reached the goal") if reason == exits.GOAL else reason


def ending(state: str, reason: str) -> str:
    """How a run ended, as a sentence."""
    if state == "active":
        return _("Still inside at the end.")
    if state == "exited":
        return _("Left early: %s.") % ended(reason)
    return _("Came to an exit: %s.") % reason if reason else _("Came to the end.")


def steps_of(definition: Definition) -> dict[str, Step]:
    """All steps by their keys."""
    return {step.key: step for step, _depth in walk(definition.steps)}


def noted(note: Note, known: Mapping[str, Step]) -> tuple[str, str]:
    """One thing that was decided: at which step, and what, in words."""
    step = known.get(note.step)
    kind = steps.registry.get(step.kind) if step else None
    name = str(kind.summary(step)) if step and kind else ""
    return name, _said(note, step)


def _said(note: Note, step: Step | None) -> str:
    facts: Mapping[str, Any] = note.facts
    kind, _colon, outcome = note.kind.partition(":")
    if kind == "entered":
        return _("They enter.")
    if kind == "moved":
        return _("They wait for another date.")
    if kind == "gate":
        return _("The day has come.")
    if kind == "exited":
        return ending("exited", str(facts.get("reason", "")))
    if kind == "sent":
        return _("The message goes out by %s.") % channel_label(facts.get("channel"))
    if kind == "stopped":
        return _("The message does not go out: %s.") % stopped(str(facts.get("reason", "")))
    known = steps.registry.get(kind)
    return known.told(step, outcome, dict(facts)) if known and step else note.kind
