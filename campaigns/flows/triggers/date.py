"""Date: some time before, on or after a date of somebody's profile, or one that an event told."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.flows import asking, dates, local
from campaigns.flows.triggers import date_form, occurring
from campaigns.flows.triggers.base import Start
from campaigns.flows.triggers.happening import Happening
from campaigns.segments import computed, fields
from crm.rules import paths
from crm.rules.errors import Problem, RuleError

STRETCH = timedelta(days=30)  # looked at in one go for `moments`


class DateConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "date", "field": "birthday", "yearly": true, "offset": {"days": -3}, "at": "09:00"}`, or with `event`,
    `property` and `where` instead of `field` and `yearly`.
    """

    kind: str = "date"
    field: str = ""
    event: str = ""
    property: str = ""
    where: list[dict[str, Any]] = []
    yearly: bool = False
    offset: dates.Offset = dates.Offset()
    at: str = ""


class Date(Happening):
    """Starts people at a moment that a date of theirs leads to.

    With a date of the profile, the clock does. With one of an event, the event starts a run that is held until then.
    """

    kind, label, icon, position = "date", gettext_lazy("A date comes"), "event", 40
    help = gettext_lazy(
        "Start before, on or after a date: a birthday, an anniversary, an appointment, a payment that is due."
    )
    event_field, where_field, show_event_if = "event", "where", f"source={date_form.EVENT}"
    Config, Form = DateConfig, date_form.DateForm

    def event(self, config):
        return config.event

    def where(self, config):
        return config.where

    def clock(self, config):
        return "" if config.event else "ahead"

    def names(self, config):
        return frozenset({config.event}) if config.event else frozenset()

    def asks(self, config, events, now):
        return super().asks(config, events, now) if config.event else asking.Question()

    def gated(self, config, starts):
        if not config.event:
            return list(starts)
        zones = local.zones({start.profile_id for start in starts})
        return [
            msgspec.structs.replace(start, until=gate, undated=gate is None)
            for start in starts
            for gate in [self._gate(config, start.context["event"]["properties"], zones[start.profile_id])]
        ]

    def _gate(self, config: DateConfig, facts: dict[str, Any], zone: Any) -> datetime | None:
        value = dates.read(dates.within(facts, config.property.split(".")))
        if value is None:
            return None
        try:
            return dates.around(value, zone, config.offset, _rule(config).at)
        except OverflowError:
            return None

    def moments(self, config, since, until, limit=None, after=None):
        return islice(
            self._told(config, since, until, after)
            if config.event
            else self._all(config, since, until, after),
            limit,
        )

    def _told(self, config, since, until, after):
        page: list[Start] = []
        for start in self._history(config, since, until, after):
            page.append(start)
            if len(page) == 1000:
                yield from self._held(config, page)
                page = []
        yield from self._held(config, page)

    def _held(self, config, starts):
        for start in self.gated(config, starts):
            if start.until is not None and start.until >= start.at:
                yield start

    def _all(self, config, since, until, after):
        begin = since
        while begin < until:
            end = min(begin + STRETCH, until)
            # One tick earlier, where those of the very moment `since` are wanted as well.
            low = begin - timedelta(microseconds=1) if begin == since and after is not None else begin
            found = self._starts(
                config, occurring.look(occurring.stored(config.field), _rule(config), low, end)
            )
            for start in sorted(found, key=lambda start: (start.at, start.profile_id)):
                if after is None or (start.at, start.profile_id) > (since, after):
                    yield start
            begin = end

    def again(self, config, profile_ids, since, until):
        whom = occurring.among(profile_ids)
        return list(
            self._starts(
                config, occurring.look(occurring.stored(config.field), _rule(config), since, until, whom)
            )
        )

    def ahead(self, config, since, until):
        return self._starts(
            config, occurring.look(occurring.stored(config.field), _rule(config), since, until)
        )

    def changed(self, config, changed_since, since, until, most):
        if occurring.many_changed(changed_since, most):
            return None
        whom = occurring.changed_since(changed_since)
        return list(
            self._starts(
                config, occurring.look(occurring.stored(config.field), _rule(config), since, until, whom)
            )
        )

    def _starts(self, config: DateConfig, people: Any) -> Any:
        for person in people:
            for each in person.occurrences:
                facts = {"field": config.field, "date": person.value}
                known = {
                    "name": self.kind,
                    "occurred_at": each.at.astimezone(UTC).isoformat(),
                    "properties": facts,
                }
                yield Start(person.profile_id, each.at, {"event": known}, mark=each.mark)

    def qualifying(self, config, days, now):
        return super().qualifying(config, days, now) if config.event else None

    def stored(self, cleaned):
        return date_form.config_of(cleaned)

    def initial(self, config):
        return date_form.initial_of(config)

    def config_problems(self, config):
        found = self._about_event(config) if config.event or config.property else self._about_field(config)
        for path, check in (("at", lambda: _rule(config)), ("offset", lambda: config.offset.check("offset"))):
            try:
                check()
            except RuleError as error:
                found.append(Problem(path, error.message))
        return found

    def _about_event(self, config: DateConfig) -> list[Problem]:
        if config.field or config.yearly:
            return [Problem("field", _("Choose either a date of the profile or one of an event."))]
        if not config.event.strip():
            return [Problem("event", _("Choose an event."))]
        found = super().config_problems(config)
        try:
            paths.json_path(config.property, "property")
        except RuleError as error:
            found += [Problem(path, text) for path, text in error.problems]
        return found

    def _about_field(self, config: DateConfig) -> list[Problem]:
        if not config.field:
            return [Problem("field", _("Choose a date."))]
        found = []
        try:
            if config.field.startswith(computed.PREFIX):
                return self._about_computed(config)
            field = fields.field(config.field)
        except RuleError as error:
            return [Problem("field", error.message)]
        if not field.path and field.name not in date_form.COLUMNS:
            found.append(Problem("field", _("“%s” is no date to start by.") % config.field[:100]))
        if not config.at and field.type == "date":
            found.append(Problem("at", _("Say at what time.")))
        return found

    def _about_computed(self, config: DateConfig) -> list[Problem]:
        kind = computed.field(config.field.removeprefix(computed.PREFIX)).kind
        if kind.type != "moment":
            return [Problem("field", _("“%s” is no date to start by.") % config.field[:100])]
        # It is looked at once an hour, and what people do moves it at any time.
        if _rule(config).length < timedelta(days=1) or config.yearly:
            return [
                Problem(
                    "offset", _("With a computed date, start a day after it at least, and not every year.")
                )
            ]
        return []

    def summary(self, config):
        if not (config.field or config.event):
            return ""
        try:
            name = _label(config.field) if config.field else config.property
        except RuleError:
            name = config.field
        when = _span(config.offset)
        words = {
            -1: _("%(span)s before “%(date)s”"),
            0: _("On “%(date)s”"),
            1: _("%(span)s after “%(date)s”"),
        }[(config.offset.number > 0) - (config.offset.number < 0)]
        text = words % {"span": when, "date": name}
        if config.event:
            text = _("%(when)s of “%(event)s”") % {"when": text, "event": config.event}
        elif config.yearly:
            text = _("%s, every year") % text
        return _("%(when)s at %(time)s") % {"when": text, "time": config.at} if config.at else text


def _label(name: str) -> str:
    """What a date is called. Raises RuleError."""
    if name.startswith(computed.PREFIX):
        return computed.field(name.removeprefix(computed.PREFIX)).label
    return fields.field(name).label


def _rule(config: DateConfig) -> occurring.Rule:
    """Raises RuleError."""
    return occurring.Rule(config.yearly, config.offset, dates.clock(config.at) if config.at else None)


def _span(offset: dates.Offset) -> str:
    number = abs(offset.number)
    return {
        "days": ngettext("%d day", "%d days", number),
        "hours": ngettext("%d hour", "%d hours", number),
        "minutes": ngettext("%d minute", "%d minutes", number),
    }[offset.unit] % number
