"""Event: somebody did something, perhaps several times."""

from datetime import timedelta
from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from campaigns.flows.asking import narrowed
from campaigns.flows.triggers.happening import Happening
from campaigns.segments import grammar
from campaigns.segments.conditions.base import Condition
from crm.rules.errors import Problem, RuleError
from crm.rules.sql import TRUE, sql

MOST_TIMES, MOST_DAYS = 1000, 365


class Count(msgspec.Struct, forbid_unknown_fields=True):
    """So many such events, or more, within so many days."""

    times: int
    within_days: int


class EventConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "event", "name": "purchase", "where": […], "count": {"times": 3, "within_days": 7}}`"""

    name: str = ""
    kind: str = "event"
    where: list[dict[str, Any]] = []
    count: Count | None = None


class EventForm(forms.Form):
    times = forms.IntegerField(
        label=gettext_lazy("How many times"),
        required=False,
        min_value=1,
        max_value=MOST_TIMES,
        help_text=gettext_lazy("Empty: every time. With 3, from the third time on."),
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-half": ""}),
    )
    within_days = forms.IntegerField(
        label=gettext_lazy("Within how many days"),
        required=False,
        min_value=1,
        max_value=MOST_DAYS,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-half": ""}),
    )

    def clean(self):
        data = super().clean() or {}
        if (data.get("times") or 1) > 1 and not data.get("within_days") and "within_days" not in self.errors:
            self.add_error("within_days", _("Say within how many days."))
        return data


class Event(Happening):
    """Starts whoever does something, by its name and properties."""

    kind, label, icon, position = "event", gettext_lazy("Something happens"), "bolt", 10
    help = gettext_lazy("Start when somebody does something, such as a purchase, or does it several times.")
    event_field, where_field = "name", "where"
    Config, Form = EventConfig, EventForm

    def event(self, config):
        return config.name

    def where(self, config):
        return config.where

    def more(self, config, now):
        """That the event, with what stands before it in the log, makes so many within some window of the days."""
        if config.count is None or config.count.times < 2:
            return TRUE
        length = timedelta(days=config.count.within_days)
        return sql(
            "EXISTS (SELECT FROM (SELECT n.occurred_at AS at, count(*) OVER (ORDER BY n.occurred_at"
            " RANGE BETWEEN {}::interval PRECEDING AND CURRENT ROW) AS number FROM crm_event n"
            " WHERE n.profile_id = e.profile_id AND n.name = {} AND (n.txid, n.seq) <= (e.txid, e.seq)"
            " AND n.occurred_at BETWEEN e.occurred_at - {}::interval AND e.occurred_at + {}::interval AND {}"
            ") AS near WHERE at >= e.occurred_at AND number >= {})",
            *(length, config.name, length, length, narrowed(config.where, "n.properties", now)),
            config.count.times,
        )

    def stored(self, cleaned):
        times = cleaned.get("times") or 1
        count = {"times": times, "within_days": cleaned["within_days"]} if times > 1 else None
        return {"count": count} if count else {}

    def initial(self, config):
        count = config.get("count") or {}
        return dict(count) if isinstance(count, dict) else {}

    def config_problems(self, config):
        if not config.name.strip():
            return [Problem("name", _("Choose an event."))]
        found = super().config_problems(config)
        if config.count and not 1 <= config.count.times <= MOST_TIMES:
            found.append(Problem("count.times", _("Give a number from 1 to %d.") % MOST_TIMES))
        if config.count and not 1 <= config.count.within_days <= MOST_DAYS:
            found.append(Problem("count.within_days", _("Give a number from 1 to %d.") % MOST_DAYS))
        return found

    def summary(self, config):
        if not config.name:
            return ""
        rule = {
            "kind": "event",
            "name": config.name,
            **({"where": config.where} if config.where else {}),
            **(
                {
                    "count": {"op": "gte", "value": config.count.times},
                    "within": {"last": {"days": config.count.within_days}},
                }
                if config.count
                else {}
            ),
        }
        try:
            parsed = grammar.parse(rule)
        except RuleError:
            return config.name
        return _("When somebody %s") % parsed.describe() if isinstance(parsed, Condition) else config.name
