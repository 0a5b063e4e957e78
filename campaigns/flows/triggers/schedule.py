"""Schedule: everybody who is in a segment, again and again at set times."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from django import forms
from django.db import connection
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns.flows import dates
from campaigns.flows.triggers.base import Start, TriggerKind
from campaigns.flows.triggers.segment import segment_choices, segment_name, segment_problems
from crm import geography, normalise
from crm.rules.errors import Problem, RuleError

PAGE = 10_000  # people
_MEMBERS = """
    SELECT m.profile_id FROM campaigns_segmentmembership m JOIN campaigns_segment s ON s.id = m.segment_id
    WHERE s.slug = %s AND m.profile_id > %s AND m.entered_at <= %s ORDER BY m.profile_id LIMIT %s
"""


class ScheduleConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`{"kind": "schedule", "cron": "0 9 * * 1", "segment": "vips"}`; `zone` is the account's unless given."""

    kind: str = "schedule"
    cron: str = ""
    segment: str = ""
    zone: str = ""


class ScheduleForm(forms.Form):
    segment = forms.ChoiceField(label=gettext_lazy("Start everybody in"), widget=UnfoldAdminSelectWidget)
    every = forms.ChoiceField(
        label=gettext_lazy("When"),
        choices=[
            ("days", gettext_lazy("On days of the week")),
            ("month", gettext_lazy("Every month")),
            ("cron", gettext_lazy("By a cron expression")),
        ],
        initial="days",
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    weekdays = forms.TypedMultipleChoiceField(
        label=gettext_lazy("On"),
        choices=[(number + 1, name) for number, name in WEEKDAYS.items()],
        coerce=int,
        required=False,
        help_text=gettext_lazy("None ticked: every day."),
        widget=forms.CheckboxSelectMultiple(attrs={"data-show-if": "every=days"}),
    )
    day = forms.IntegerField(
        label=gettext_lazy("Day of the month"),
        min_value=1,
        max_value=28,
        initial=1,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-show-if": "every=month"}),
    )
    at = forms.CharField(
        label=gettext_lazy("At"),
        required=False,
        help_text=gettext_lazy("In the account's time zone."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time", "data-show-if": "every=days,month"}),
    )
    cron = forms.CharField(
        label=gettext_lazy("Cron expression"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("Minute, hour, day of the month, month, day of the week: 0 9 * * 1."),
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "data-show-if": "every=cron"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["segment"].choices = segment_choices()

    def clean(self):
        data = super().clean() or {}
        try:
            if (data.get("every") or "days") == "cron":
                name = "cron"
                check_cron(data.get("cron", ""))
            else:
                name = "at"
                dates.clock((data.get("at") or "")[:5])
                if data["every"] == "month" and not data.get("day") and "day" not in self.errors:
                    self.add_error("day", _("Fill this in."))
        except RuleError as error:
            self.add_error(name, error.message)
        return data


def check_cron(text: str) -> None:
    """Raises RuleError unless it is a cron expression of five parts that comes up some day."""
    try:
        if len(text.split()) == 5:
            next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)))
            return
    except (CronSimError, StopIteration):
        pass
    raise RuleError(_("Give a cron expression of five parts, such as 0 9 * * 1."), "cron")


class Schedule(TriggerKind):
    """Starts all members of a segment at each time of a schedule."""

    kind, label, icon, position = "schedule", gettext_lazy("On a schedule"), "update", 50
    help = gettext_lazy(
        "Start everybody in a segment again and again, such as every Monday at 9. Let people enter again for that."
    )
    keyed = False
    Config: ClassVar[type[msgspec.Struct]] = ScheduleConfig
    Form: ClassVar[type[forms.Form]] = ScheduleForm

    def clock(self, config):
        return "exact"

    def looks_back(self, config):
        return False

    def moments(self, config, since, until, limit=None, after=None):
        return islice(self._all(config, since, until, after), limit)

    def _all(self, config: Any, since: datetime, until: datetime, after: int | None) -> Iterator[Start]:
        for at in self._times(config, since, until, after is not None):
            known = {
                "name": self.kind,
                "occurred_at": at.isoformat(),
                "properties": {"segment": config.segment},
            }
            mark, last = f"schedule:{at.isoformat()}", after if after is not None and at == since else 0
            while True:
                with connection.cursor() as cursor:
                    cursor.execute(_MEMBERS, [config.segment, last, at, PAGE])
                    ids = [row[0] for row in cursor.fetchall()]
                for profile_id in ids:
                    yield Start(profile_id, at, {"event": known}, mark=mark)
                if len(ids) < PAGE:
                    break
                last = ids[-1]

    def _times(self, config: Any, since: datetime, until: datetime, including: bool) -> Iterator[datetime]:
        zone = _zone(config)
        # An hour that comes twice has its times once, in its first run through: it tells each local time once.
        for found in CronSim(config.cron, (since - timedelta(hours=3)).astimezone(zone)):
            at = found.astimezone(UTC)
            if at > until:
                return
            if at > since or (including and at == since):
                yield at

    def initial(self, config):
        return {"segment": config.get("segment"), **_pattern(str(config.get("cron") or ""))}

    def stored(self, cleaned):
        every = cleaned.get("every") or "days"
        found = {"segment": cleaned.get("segment", "")}
        if every == "cron":
            return found | {"cron": " ".join(cleaned.get("cron", "").split())}
        at = dates.clock(cleaned["at"][:5])
        weekdays = sorted(cleaned.get("weekdays") or [])
        days = ",".join(map(str, weekdays)) if every == "days" and 0 < len(weekdays) < 7 else "*"
        month_day = cleaned["day"] if every == "month" else "*"
        return found | {"cron": f"{at.minute} {at.hour} {month_day} * {days}"}

    def config_problems(self, config):
        found = segment_problems(config.segment)
        try:
            check_cron(config.cron)
        except RuleError as error:
            found.append(Problem("cron", error.message))
        if config.zone and normalise.timezone(config.zone) is None:
            found.append(Problem("zone", _("There is no such time zone.")))
        return found

    def summary(self, config):
        if not config.cron:
            return ""
        pattern = _pattern(config.cron)
        if pattern["every"] == "cron":
            when = config.cron
        elif pattern["every"] == "month":
            when = _("on day %(day)d of every month at %(time)s") % {
                "day": pattern["day"],
                "time": pattern["at"],
            }
        elif pattern["weekdays"]:
            names = ", ".join(str(WEEKDAYS[number - 1]) for number in pattern["weekdays"])
            when = _("every %(days)s at %(time)s") % {"days": names, "time": pattern["at"]}
        else:
            when = _("every day at %s") % pattern["at"]
        return _("Everybody in “%(segment)s”: %(when)s") % {
            "segment": segment_name(config.segment),
            "when": when,
        }


def _zone(config: ScheduleConfig) -> ZoneInfo:
    return geography.zone_for({"timezone": config.zone}) if config.zone else geography.account_zone()


def _pattern(cron: str) -> dict[str, Any]:
    """What the form shows of a cron expression: days of the week or the month with a time, else the expression."""
    parts = cron.split()
    if not cron:
        return {"every": "days", "at": "09:00"}
    if len(parts) == 5 and all(part.isdecimal() for part in parts[:2]) and parts[3] == "*":
        minute, hour, day, _month, weekdays = parts
        if int(minute) < 60 and int(hour) < 24:
            at = f"{int(hour):02d}:{int(minute):02d}"
            listed = [] if weekdays == "*" else weekdays.split(",")
            if day == "*" and all(each.isdecimal() and 1 <= int(each) <= 7 for each in listed):
                return {"every": "days", "weekdays": [int(each) for each in listed], "at": at}
            if day.isdecimal() and 1 <= int(day) <= 28 and weekdays == "*":
                return {"every": "month", "day": int(day), "at": at}
    return {"every": "cron", "cron": cron}
