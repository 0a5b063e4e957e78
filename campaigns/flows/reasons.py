"""What flows decided, in words for whoever asks why."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from campaigns.flows import (
    comparing,
    deciding,
    ending,
    enrolling,
    entries,
    exits,
    guards,
    moving,
    steps,
    triggers,
)
from campaigns.flows.definition import Step
from campaigns.flows.waiting_words import moment
from campaigns.models import Decision
from delivery.admin import reasons as sending

MERGED, ERASED = "profile_merged", "profile_erased"


def decided(decision: Decision, known: Mapping[str, Step], by: str = "") -> str:
    """One decision as a sentence, its times in the present time zone.

    Args:
        known: the steps of the version it was made by, by key.
        by: who enrolled them, if somebody did.
    """
    facts = decision.detail
    kind, _colon, outcome = decision.kind.partition(":")
    if outcome and kind != "gate":
        return _of_step(known.get(decision.step), kind, outcome, facts)
    event = str(facts.get("event") or "")
    if decision.kind == "gate:go_on":
        return _("The date had come.")
    if kind == "entered":
        return _entered(event, by)
    if kind == "not_entered":
        return _("They did not enter: %s") % entry_words(str(facts.get("reason", "")))
    if kind == "held_out":
        return _("They belong to the share that gets nothing, so that the flow's effect can be measured.")
    if kind == "converted":
        value = facts.get("value")
        if value is not None:
            return _("They reached the goal by “%(event)s”, worth %(value)s.") % {
                "event": event,
                "value": value,
            }
        return _("They reached the goal by “%s”.") % event
    if kind == "moved":
        return _moved(facts, known)
    if kind == "error":
        return _("The step failed; it is tried again from %s on.") % moment(facts.get("until"))
    if kind in ("exited", "completed"):
        return ended_words(kind, str(facts.get("reason") or event), str(facts.get("note", "")))
    return _("Something was decided: %s.") % decision.kind


def _entered(event: str, by: str) -> str:
    if event == enrolling.NAME:
        kind, colon, name = by.partition(":")
        if colon and kind in ("flow", "key"):
            words = (
                _("They were enrolled by the flow “%s”.")
                if kind == "flow"
                else _("They were enrolled by the API key “%s”.")
            )
            return words % name
        return _("They were enrolled by %s.") % by if by else _("They were enrolled.")
    if (trigger := triggers.registry.get(event)) is not None:
        return _("They entered: %s.") % trigger.label
    return _("They entered by “%s”.") % event if event else _("They entered.")


def _of_step(step: Step | None, kind: str, outcome: str, facts: dict[str, Any]) -> str:
    if facts.get("reason") == deciding.NOT_MET:
        return _("They do not meet the step's condition, so it is left out for them.")
    known = steps.registry.get(kind)
    if known is None or step is None:
        return _("This kind of step is not installed any more.") if known is None else ""
    try:
        return known.told(step, outcome, facts)
    except (KeyError, TypeError, ValueError):  # facts of an older release, or in outline
        return str(known.label)


def _moved(facts: Mapping[str, Any], known: Mapping[str, Step]) -> str:
    if "to_version" not in facts:
        return _("The date they wait for was changed; they are held until %s.") % moment(facts.get("until"))
    numbers = {"before": facts.get("from_version"), "after": facts.get("to_version")}
    if facts.get("from_step") == facts.get("to_step"):
        return (
            _("They were moved from version %(before)s to version %(after)s and stay at their step.")
            % numbers
        )
    at = known.get(str(facts.get("to_step")))
    return _("They were moved from version %(before)s to version %(after)s, to “%(step)s”.") % {
        **numbers,
        "step": comparing.words(at) if at else facts.get("to_step"),
    }


def ended_words(state: str, reason: str, note: str = "") -> str:
    """How a run ended, as a sentence."""
    words = {
        "": _("They left early.") if state == "exited" else _("They came to the end."),
        exits.RULE: _("They left because they met the exit rule."),
        exits.GOAL: _("They left because they reached the goal."),
        ending.BY_HAND: _("Somebody ended their run by hand."),
        ending.STOPPED: _("They left because the flow was stopped."),
        moving.REMOVED: _("They left because their step was taken out of the flow."),
        entries.HELD_OUT: _("They got nothing, so that the flow's effect can be measured."),
        MERGED: _("Their run ended when two profiles were joined."),
        ERASED: _("Their run ended when the person was erased."),
    }
    if reason in words:
        text = words[reason]
    elif state == "exited":
        text = _("They left because of “%s”.") % reason
    else:
        text = _("They came to an exit: %s.") % reason
    return f"{text} {_('Note: %s') % note}" if note else text


def entry_words(reason: str) -> str:
    """Why somebody was not let in."""
    words = {
        entries.RULE: _("they did not meet the entry rule."),
        entries.TOO_EARLY: _("it was before the flow's first day."),
        entries.TOO_LATE: _("it was after the flow's last day."),
        entries.INSIDE: _("they were inside already."),
        entries.ONCE: _("they had been inside before, and people enter once only."),
        entries.TOO_SOON: _("they had been inside not long ago."),
        entries.TOO_OFTEN: _("they had entered too often within an hour."),
        entries.NO_KEY: _("the event lacked what tells runs apart."),
        entries.NO_DATE: _("they had no such date."),
        entries.PAST_DATE: _("the date was past."),
        enrolling.UNKNOWN: _("there is no such person."),
        entries.HELD_OUT: _("they belong to the share that gets nothing."),
        enrolling.NOT_LIVE: _("the flow was not live."),
    }
    return words.get(reason, reason)


def sent_words(reason: str) -> str:
    """Why a message was not sent, or not yet; "" when nothing is known."""
    if reason == guards.PAUSED:
        return _("The flow is paused; the message waits until it goes on or the message expires.")
    if reason == guards.OUTSIDE:
        return _("It waits until the flow's send window opens for them.")
    if reason == guards.NOT_ENTITLED:
        return _("They no longer met the entry rule when it was about to go out.")
    if reason == guards.BROKEN:
        return _("The flow's exits could not be checked, so the message waits. See the alerts.")
    if reason.startswith("exit: "):
        return ended_words("exited", reason.removeprefix("exit: "))
    return sending.explain(reason)
