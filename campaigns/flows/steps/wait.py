"""Wait: hold people for a while, until a time of their day or week, until a date, or until their best hour."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows import best_hour, dates, local, waiting_words
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on, leave, wait
from campaigns.flows.waiting_forms import LONGEST, UNITS, WaitForm
from crm.rules import paths
from crm.rules.errors import Problem, RuleError

MOST_HOURS = 168  # to wait for somebody's best hour
NO_DATE, PAST = "no date", "date past"


class WaitConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How long to wait: a number of `unit`s, or `until` something.

    Args:
        at: "HH:MM" on the person's own clock. Until a time without it: any time of the `days`.
        days: ISO weekdays, 1 (Monday) to 7; empty for any.
        field: of the profile: a column, `attributes.…` or `computed.…`. Or `property`: of the event that started
            the run. Which date it is counts when the person arrives.
        yearly: the next anniversary of the date is meant.
        if_past: what becomes of those whose date is past or missing when they arrive.
    """

    amount: int | None = None
    unit: str = "hours"
    until: Literal["time", "date", "best_hour"] | None = None
    at: str | None = None
    days: list[int] = []
    field: str | None = None
    property: str | None = None
    offset: dates.Offset = dates.Offset()
    yearly: bool = False
    if_past: Literal["go_on", "leave"] = "go_on"
    within_hours: int = 24


class Wait(StepKind):
    """Decides when people arrive until when they stay, and keeps to it."""

    kind, label, icon, position = "wait", gettext_lazy("Wait"), "schedule", 20
    help = gettext_lazy(
        "Hold people for a while, until a time of their day, until a date, or until their best hour."
    )
    Config, Form = WaitConfig, WaitForm
    keeps_state = True

    def run(self, step, people, now):
        arrived = [person for person in people if "until" not in person.state]
        outcomes = self._arrive(self.config(step), arrived, now) if arrived else {}
        for person in people:
            if person.enrollment_id not in outcomes:
                outcomes[person.enrollment_id] = _held(person.state, now)
        return outcomes

    def _arrive(self, config: WaitConfig, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
        if config.until == "time":
            at = dates.clock(config.at) if config.at else None
            zones = local.zones({person.profile_id for person in people})
            return {
                person.enrollment_id: _until(
                    local.next_at(now, at, zone := zones[person.profile_id], config.days), now, zone=zone.key
                )
                for person in people
            }
        if config.until == "best_hour":
            return _until_best_hour(config, people, now)
        if config.until == "date":
            return _until_date(config, people, now)
        until = now + length(config)
        return {person.enrollment_id: _until(until, now) for person in people}

    def stored(self, cleaned):
        return WaitForm.config_of(cleaned)

    def initial(self, config):
        return WaitForm.initial_of(config)

    def summary(self, step):
        return waiting_words.wait(step.config)

    def told(self, step, outcome: str, facts: dict[str, Any]) -> str:
        """One decision in words."""
        if outcome == "skipped":
            return super().told(step, outcome, facts)
        return waiting_words.waited(outcome, facts)

    def config_problems(self, step, config):
        found: list[Problem] = []
        for check in (_check_length, _check_time, _check_date, _check_best_hour):
            try:
                check(config)
            except RuleError as error:
                found += error.problems
        return found


def length(config: WaitConfig) -> timedelta:
    """How long a wait of so many units is."""
    return timedelta(**{config.unit: config.amount or 0})


def _until(until: datetime, now: datetime, **facts: Any) -> Outcome:
    if until <= now:
        return go_on(waited_until=now.isoformat(), **facts)
    return wait(until, **facts)


def _held(state: Mapping[str, Any], now: datetime) -> Outcome:
    until = datetime.fromisoformat(state["until"])
    if until <= now:
        return go_on(waited_until=state["until"])
    return wait(until, **{name: value for name, value in state.items() if name not in ("until", "error")})


def _until_best_hour(config: WaitConfig, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
    ids = {person.profile_id for person in people}
    zones = local.zones(ids)
    best = best_hour.best_hours(ids, now, zones)
    return {
        person.enrollment_id: _until(
            best_hour.next_at(own := best[person.profile_id], zone, now, config.within_hours),
            now,
            zone=zone.key,
            best_hour=own.hour,
            events=own.events,
            source=own.source,
        )
        for person in people
        for zone in [zones[person.profile_id]]
    }


def _until_date(config: WaitConfig, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
    ids = {person.profile_id for person in people}
    zones = local.zones(ids)
    at = dates.clock(config.at) if config.at else None
    of_profile = dates.of_profiles(ids, config.field, now) if config.field else {}
    outcomes = {}
    for person in people:
        found = (
            of_profile[person.profile_id]
            if config.field
            else dates.of_event(person.context, config.property or "")
        )
        zone = zones[person.profile_id]
        until = None
        if found is not None:
            try:
                reach = dates.next_around(found, zone, config.offset, now, at) if config.yearly else None
                until = reach or dates.around(found, zone, config.offset, at)
            except OverflowError:
                found = None
        facts: dict[str, Any] = {"zone": zone.key, "date": _told(found)}
        if until is None or until < now:
            reason = NO_DATE if until is None else PAST
            if config.if_past == "leave":
                outcomes[person.enrollment_id] = leave(reason=reason, **facts)
            else:
                outcomes[person.enrollment_id] = go_on(reason=reason, **facts)
        else:
            outcomes[person.enrollment_id] = _until(until, now, **facts)
    return outcomes


def _told(found: Any) -> str | None:
    if found is None:
        return None
    return (found.day or found.start).isoformat()


def _check_length(config: WaitConfig) -> None:
    if config.until is not None:
        return
    if config.unit not in UNITS:
        raise RuleError(_("Choose minutes, hours or days."), "unit")
    if config.amount is None:
        raise RuleError(_("Fill this in."), "amount")
    if not 0 < config.amount <= 100_000 or length(config) > LONGEST:
        raise RuleError(_("Wait for a minute at least and two years at most."), "amount")


def _check_time(config: WaitConfig) -> None:
    if config.until not in ("time", "date"):
        return
    if config.at is not None:
        dates.clock(config.at)
    if config.until == "date":
        return
    if config.at is None and not config.days:
        raise RuleError(_("Say at what time, or on which days."), "at")
    if len(set(config.days)) != len(config.days) or not set(config.days) <= set(range(1, 8)):
        raise RuleError(_("Weekdays are numbers from 1 (Monday) to 7, each once."), "days")


def _check_date(config: WaitConfig) -> None:
    if config.until != "date":
        return
    if (config.field is None) is (config.property is None):
        raise RuleError(
            _("Choose a date of the profile or a property of the event."),
            "field" if config.property is None else "property",
        )
    if config.field is not None:
        dates.check_field(config.field)
    else:
        paths.json_path(config.property or "", "property")
    config.offset.check("offset")


def _check_best_hour(config: WaitConfig) -> None:
    if config.until == "best_hour" and not 1 <= config.within_hours <= MOST_HOURS:
        raise RuleError(_("Give a number of hours from 1 to %d.") % MOST_HOURS, "within_hours")
