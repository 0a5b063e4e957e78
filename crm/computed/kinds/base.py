"""What every kind of computed attribute has in common."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

import msgspec
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import masking
from crm.computed import zones
from crm.rules import words
from crm.rules.errors import RuleError
from crm.rules.operators import Operand, as_moment
from crm.rules.paths import json_operand, json_path
from crm.rules.sql import Sql, joined, sql
from crm.rules.where import Where, check_name, check_where, properties

LONGEST_WINDOW = 3_650  # days
LONGEST_TEXT = 500  # characters of a value: more does not fit into an index
RELATIVE = ("within_last", "within_next", "anniversary_within")
MICROSECOND = timedelta(microseconds=1)


class Scope(NamedTuple):
    """Whose values: of these people, or of everybody with an id above `after` and up to `upto`."""

    ids: list[int] | None = None
    after: int = 0
    upto: int | None = None

    def limit(self, column: str) -> Sql:
        """The condition on a column of profile ids."""
        if self.ids is not None:
            return sql("{} = ANY({}::bigint[])", Sql(column), self.ids)
        if self.upto is None:
            return sql("{} > {}", Sql(column), self.after)
        return sql("{} > {} AND {} <= {}", Sql(column), self.after, Sql(column), self.upto)


class Ask(NamedTuple):
    """One computation: `now` is aware and in UTC, windows end there. `since` leaves out what happened earlier."""

    now: datetime
    scope: Scope
    since: datetime | None = None


class Events(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events count: those called `event`, for which `where` holds."""

    kind: str
    event: str
    where: list[Where] = []


class Windowed(Events, kw_only=True):
    """As above, of the last `last_days` times 24 hours; without it, of all time."""

    last_days: int | None = None


class Kind:
    """One kind of computed attribute: its JSON shape, its SQL and its words.

    A subclass gives `rows`: a SELECT of profile_id, number, text, at, due_at and zone, of people in scope with
    something to tell. `type` is number, text or moment. `default` is what everybody else has, None for nothing.
    """

    kind: ClassVar[str]
    label: ClassVar[Any]
    position: ClassVar[int] = 100
    Config: ClassVar[type[msgspec.Struct]]
    inputs: ClassVar[tuple[str, ...]] = ()  # what the form asks for besides the event and its conditions
    zoned: ClassVar[bool] = False  # whether it depends on the person's time zone
    counts_days: ClassVar[bool] = (
        False  # whether it is told as the number of days since the moment that is kept
    )
    do_not_call_in_templates: ClassVar[bool] = True  # the form lists the classes themselves

    def __init__(self, config: Any):
        self.config = config
        check_name(config.event, "event")
        self.where = check_where(config.where, "where")
        for index, (_path, comparison) in enumerate(self.where):
            if comparison.op in RELATIVE:
                message = _("A length of time before or after now is not possible here.")
                raise RuleError(message, f"where[{index}].op")
        days = getattr(config, "last_days", None)
        if days is not None and not 1 <= days <= LONGEST_WINDOW:
            raise RuleError(_("Give a whole number from 1 to %d.") % LONGEST_WINDOW, "last_days")
        self.window = timedelta(days=days) if days else None
        self.check()

    def check(self) -> None:
        """Raises RuleError when the values make no sense together."""

    @property
    def type(self) -> str:
        return "number"

    @property
    def default(self) -> float | None:
        return None

    @property
    def advances_by(self) -> str | None:
        """The function of SQL, if there is one, that makes the value of the old one and that of new events alone.

        It must not matter to it in which order and how often it sees an event: events come late, and computing anew
        has seen some that the log's reader has yet to take.
        """
        return None

    @property
    def event_names(self) -> set[str]:
        """Names of the events that can change the value."""
        return {self.config.event}

    def rows(self, ask: Ask) -> Sql:
        raise NotImplementedError

    def describe(self) -> str:
        """The figure in words, without an article: “number of “purchase” events in the last 90 days”."""
        raise NotImplementedError

    def in_words(self, value: Any) -> str:
        """The value as whoever the present request is for may read it."""
        if value is None:
            return "–"
        if isinstance(value, datetime):
            return formats.date_format(timezone.localtime(value), "DATETIME_FORMAT")
        if isinstance(value, str):
            return masking.contact("text", value)
        return formats.number_format(round(value, 2), use_l10n=True, force_grouping=True)

    def matching(self, ask: Ask) -> Sql:
        """The condition on one event e. In a window, those after now pass too: they tell when it changes."""
        checks = [sql("e.name = {}", self.config.event), ask.scope.limit("e.profile_id")]
        if self.window:
            checks.append(sql("e.occurred_at >= {}::timestamptz", ask.now - self.window))
        if ask.since:
            checks.append(sql("e.occurred_at >= {}::timestamptz", ask.since))
        return joined(" AND ", [*checks, *properties(self.where, "e.properties", ask.now)])

    def inside(self, ask: Ask, column: str = "e.occurred_at") -> Sql:
        """The condition that an event that matches counts already."""
        return sql("{} <= {}::timestamptz", Sql(column), ask.now) if self.window else Sql("true")

    def due(self, ask: Ask, first: Sql, following: Sql) -> Sql:
        """The last moment at which the value holds by itself.

        Args:
            first: when the first event that counts happened.
            following: the earliest of those that do not count yet.
        """
        if not self.window:
            return Sql("NULL::timestamptz")
        return sql("least({} + {}::interval, {} - {}::interval)", first, self.window, following, MICROSECOND)

    def about(self) -> str:
        """“purchase” where category is shoes, in the last 90 days"""
        text = f"“{self.config.event}”"
        if self.where:
            clauses = [
                words.comparison(item.property, check)
                for item, (_path, check) in zip(self.config.where, self.where, strict=True)
            ]
            text = _("%(events)s where %(conditions)s") % {
                "events": text,
                "conditions": _(" and ").join(clauses),
            }
        if self.window:
            span = ngettext("in the last %d day", "in the last %d days", self.window.days) % self.window.days
            text = f"{text} {span}"
        return text


def number(operand: Operand) -> Sql:
    """A JSON number as numeric, null for anything else."""
    return sql("(CASE WHEN jsonb_typeof({}) = 'number' THEN ({})::numeric END)", operand.value, operand.value)


def as_float(column: str) -> Sql:
    """A numeric column as float8, to twelve places; null where it is too large. The cast raises at either end."""
    return Sql(f"(CASE WHEN abs({column}) < 1e300 THEN round({column}, 12)::float8 END)")


def typed(path: tuple[str, ...], kind: str) -> Sql:
    """The value of a property of the event e as a number, text or moment; null where it is none."""
    operand = json_operand("e.properties", path)
    if kind == "number":
        found = number(operand)
        return sql("(CASE WHEN abs({}) < 1e300 THEN round({}, 12)::float8 END)", found, found)
    if kind == "moment":
        found = as_moment(operand)
        return sql(
            "(CASE WHEN {} BETWEEN '0002-01-01Z'::timestamptz AND '9998-12-31Z'::timestamptz THEN {} END)",
            found,
            found,
        )
    return sql(
        "(CASE WHEN jsonb_typeof({}) IN ('string', 'number', 'boolean') THEN nullif(left({} #>> '{{}}', {}), '') END)",
        operand.value,
        operand.value,
        LONGEST_TEXT,
    )


def columns(kind: str, value: Sql) -> Sql:
    """`number, text, at` with the value in its place."""
    places = {"number": Sql("NULL::float8"), "text": Sql("NULL::text"), "moment": Sql("NULL::timestamptz")}
    places[kind] = value
    return sql("{} AS number, {} AS text, {} AS at", *places.values())


def property_path(name: str) -> tuple[str, ...]:
    """The keys of a property's name. Raises RuleError at `property`."""
    return json_path(name, "property")


def profiles_with_zones(ask: Ask) -> Sql:
    """`id, zone` of the people in scope; OFFSET 0 keeps the zone from being worked out for every event."""
    return sql(
        "(SELECT p.id, {} AS zone FROM crm_profile p WHERE {} OFFSET 0)",
        zones.zone("p"),
        ask.scope.limit("p.id"),
    )
