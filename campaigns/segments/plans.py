"""What counting a rule will cost, and why, without counting it.

The database's planner is asked for the whole rule, and where that is much for each condition. What is stored are
codes and figures; words are made when they are read, in the reader's language.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.segments import compiler, grammar
from campaigns.segments.conditions.attribute import Attribute
from campaigns.segments.conditions.base import Condition, Query
from campaigns.segments.conditions.event import Event
from campaigns.segments.conditions.message import EVENTS, Message
from campaigns.segments.evaluate import explained
from campaigns.segments.fields import Field
from campaigns.segments.grammar import Rule
from crm import indexed_attributes

# The planner's units per millisecond: 40 to 280 for six typical rules on two busy cores, over a million people and ten
# million events.
COST_PER_MS = 150.0
SLOW_MS = 5_000
DEAR_SHARE = 0.2  # of the whole, from which on a condition is named


class Reason(NamedTuple):
    """Why a rule takes long: the path of the condition, a code, and what the words need."""

    path: str
    code: str
    name: str = ""
    rows: int = 0

    @property
    def text(self) -> str:
        """What is slow."""
        shown = {"name": self.name, "rows": f"{self.rows:,}"}
        if self.code == "no_window":
            return _("All “%(name)s” events ever are read, about %(rows)s: there is no time window.") % shown
        if self.code == "properties":
            return _("About %(rows)s “%(name)s” events are read for what they say.") % shown
        if self.code == "events":
            return _("About %(rows)s “%(name)s” events are read.") % shown
        if self.code == "not_indexed":
            return _("“%(name)s” is read for every person: the attribute has no index.") % shown
        if self.code == "every_profile":
            return _("“%(name)s” is compared for every person.") % shown
        return _("About %(rows)s people or records are read.") % shown

    @property
    def advice(self) -> str:
        """What to do about it; may be empty."""
        return {
            "no_window": _("Give a time window, such as the last 90 days."),
            "properties": _("Shorten the time window, or keep the figure as a computed attribute."),
            "events": _("Shorten the time window."),
            "not_indexed": _("An administrator can index the attribute with one click."),
            "every_profile": _("Put it beside a condition that leaves few people."),
        }.get(self.code, "")

    @property
    def url(self) -> str:
        """Where to do it, if there is such a page."""
        return reverse("admin:crm_indexedattribute_changelist") if self.code == "not_indexed" else ""


class Plan(NamedTuple):
    """What the planner expects. `ms` is an estimate from its costs; `known` is False when nothing was asked yet."""

    ms: int = 0
    reasons: tuple[Reason, ...] = ()
    known: bool = False

    @property
    def slow(self) -> bool:
        """Whether whoever saves the rule should know."""
        return self.ms >= SLOW_MS

    @property
    def words(self) -> str:
        """How long counting everybody takes."""
        if not self.known:
            return ""
        if self.ms < 1_000:
            return _("Counting everybody takes less than a second.")
        seconds = round(self.ms / 1_000)
        if seconds < 90:
            return (
                ngettext(
                    "Counting everybody takes about %d second.",
                    "Counting everybody takes about %d seconds.",
                    seconds,
                )
                % seconds
            )
        minutes = round(seconds / 60)
        return (
            ngettext(
                "Counting everybody takes about %d minute.",
                "Counting everybody takes about %d minutes.",
                minutes,
            )
            % minutes
        )

    def data(self) -> dict[str, Any]:
        """As JSON, to be stored."""
        return {"ms": self.ms, "reasons": [list(reason) for reason in self.reasons]}


def plan(rule: Rule, now: datetime | None = None) -> Plan:
    """Ask the planner about a rule; nothing is counted. Raises RuleError as `compiler.query`."""
    query = compiler.query(rule, now)
    whole = float(explained(compiler.ids(rule, query))["Total Cost"])
    ms = int(whole / COST_PER_MS)
    if ms < SLOW_MS / 2:
        return Plan(ms, (), True)
    reasons = []
    for leaf in grammar.leaves(rule):
        found = explained(compiler.part(leaf, query).ids)
        if found["Total Cost"] >= whole * DEAR_SHARE:
            reasons.append(_reason(leaf, query, _rows_read(found)))
    return Plan(ms, tuple(reasons), True)


def read(data: Mapping[str, Any]) -> Plan:
    """The plan that `Plan.data` wrote; one that knows nothing when there is none."""
    if "ms" not in data:
        return Plan()
    return Plan(data["ms"], tuple(Reason(*reason) for reason in data.get("reasons", ())), True)


def _reason(leaf: Condition, query: Query, rows: int) -> Reason:
    if isinstance(leaf, Event | Message):
        name = leaf.config.name if isinstance(leaf, Event) else ", ".join(EVENTS[leaf.config.did])
        if leaf.config.within is None or leaf.config.within.low(query.now) is None:
            return Reason(leaf.path, "no_window", name, rows)
        reads = isinstance(leaf, Message) or leaf.config.where or leaf.config.aggregate
        return Reason(leaf.path, "properties" if reads else "events", name, rows)
    if isinstance(leaf, Attribute) and isinstance(leaf.field, Field):
        if (
            leaf.field.path
            and indexed_attributes.serves(leaf.comparison)
            and leaf.field.path not in query.columns
        ):
            return Reason(leaf.path, "not_indexed", leaf.field.name, rows)
        return Reason(leaf.path, "every_profile", leaf.field.label, rows)
    return Reason(leaf.path, "rows", "", rows)


def _rows_read(found: Mapping[str, Any]) -> int:
    """Rows that the scans at the bottom of a plan give, all in all."""
    below = found.get("Plans", [])
    return sum(map(_rows_read, below)) if below else int(found["Plan Rows"])
