"""Goals as statements ask for them: their windows and amounts as rows, their filters as SQL."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from analytics.goals import own
from analytics.models import Goal
from analytics.models.goals import LONGEST_WINDOW, SEEN_CHANNELS
from crm.rules import passing, paths
from crm.rules.errors import RuleError
from crm.rules.sql import TRUE, Sql, joined
from crm.rules.where import Where, check_name, check_where, properties

EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")  # filters that ask for the present are refused
_PLACE = re.compile(r"%(%|s)")


class Rules(msgspec.Struct):
    """Goals that are credited together: `values` are the parameters of all SQL that is made of them."""

    rows: list[dict[str, Any]]
    values: dict[str, Any]
    _fits: list[tuple[int, list[Where]]]

    @property
    def names(self) -> set[str]:
        """The events that reach one of them."""
        return {row["event"] for row in self.rows}

    @property
    def views(self) -> bool:
        """Whether a message that was only seen may count."""
        return any(row["view_hours"] for row in self.rows)

    def fits(self, goal: str, event: str) -> str:
        """A condition: the event of this alias passes the filters of the goal of that alias."""
        cases = []
        for number, where in self._fits:
            text, values = _named(_sql(where, f"{event}.properties"), f"goal_{number}_{event}_")
            cases.append(f"WHEN {number} THEN ({text})")
            self.values |= values
        return f"CASE {goal}.id {' '.join(cases)} END" if cases else "false"


def active() -> Rules:
    """All goals that count now, messages' own among them."""
    own.goal()
    return of(Goal.everything.filter(active=True).order_by("pk"))


def of(goals: Collection[Goal] | Any) -> Rules:
    """These goals. One with filters that can't be asked any more stays as it is."""
    rows: list[dict[str, Any]] = []
    fits: list[tuple[int, list[Where]]] = []
    for goal in goals:
        if goal.own:
            rows += own.rows(goal)
            fits.append((goal.pk, []))
            continue
        try:
            where = parsed(goal.where)
        except RuleError:
            continue
        fits.append((goal.pk, where))
        rows.append(
            {
                "id": goal.pk,
                "event": goal.event,
                "value_path": goal.value_property.split("."),
                "currency_path": goal.currency_property.split("."),
                "currency": (goal.currency or settings.NUDGE_CURRENCY).upper(),
                "clicks": goal.click_hours,
                "opens": goal.open_hours,
                "view_hours": goal.view_hours,
                "longest": max(goal.click_hours, goal.open_hours, *goal.view_hours.values()),
                "once": goal.counting == Goal.Counting.ONCE,
                "own": False,
            }
        )
    values = {"goals": msgspec.json.encode(rows).decode(), "account": settings.NUDGE_CURRENCY.upper()}
    return Rules(rows, values, fits)


def parsed(where: Sequence[Any]) -> list[Where]:
    """The filters, checked.

    Raises:
        RuleError: one of them can't be asked of an event, or would have another answer tomorrow.
    """
    try:
        found = msgspec.convert(where, list[Where])
    except msgspec.ValidationError as error:
        raise RuleError(str(error), "where") from error
    for number, (_keys, comparison) in enumerate(check_where(found, "where")):
        if comparison.op in passing.RELATIVE:
            raise RuleError(_("A goal can't ask how long ago something is."), f"where[{number}].op")
    return found


def problems(goal: Goal) -> dict[str, str]:
    """What is wrong with a goal, by field."""
    found: dict[str, str] = {}
    checks = {
        "event": lambda: check_name(goal.event, "event"),
        "where": lambda: parsed(goal.where),
        "value_property": lambda: goal.value_property and paths.json_path(goal.value_property, ""),
        "currency_property": lambda: goal.currency_property and paths.json_path(goal.currency_property, ""),
    }
    for field, check in checks.items():
        try:
            check()
        except RuleError as error:
            found[field] = error.message
    if goal.slug == own.SLUG:
        found["slug"] = _("This name is taken.")
    if goal.currency and not re.fullmatch("[A-Z]{3}", goal.currency):
        found["currency"] = _("Three letters, like EUR.")
    hours = goal.view_hours
    if not isinstance(hours, dict) or not all(
        channel in SEEN_CHANNELS and type(value) is int and 0 < value <= LONGEST_WINDOW
        for channel, value in hours.items()
    ):
        found["view_hours"] = _("Give hours by channel, from 1 to %d.") % LONGEST_WINDOW
    return found


def _sql(where: list[Where], column: str) -> Sql:
    checked = check_where(where, "where")
    return joined(" AND ", properties(checked, column, EPOCH)) if checked else TRUE


def _named(made: Sql, prefix: str) -> tuple[str, dict[str, Any]]:
    """The same with parameters that have names."""
    values: dict[str, Any] = {}

    def name(place: re.Match[str]) -> str:
        if place[1] == "%":
            return "%%"
        key = f"{prefix}{len(values)}"
        values[key] = made.params[len(values)]
        return f"%({key})s"

    return _PLACE.sub(name, made.text), values
