"""How many people there are, where new ones came from, and who can be reached."""

from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import daily, names
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Column, Kind, Report, Row, Sheet, Table
from analytics.reports import audience
from analytics.reports.audience import DEFINITIONS, History, within
from analytics.reports.periods import Period

LABELS = {
    "profiles": gettext_lazy("People"),
    "new": gettext_lazy("New"),
    "gone": gettext_lazy("Gone"),
    "agreed": gettext_lazy("Agreed"),
    "reachable": gettext_lazy("Reachable"),
}
SHARE = Column(
    key="share",
    label=gettext_lazy("Share"),
    definition=gettext_lazy("Of all new people."),
    kind=Kind.SHARE,
)
REACH = Column(
    key="reach",
    label=gettext_lazy("Share of all people"),
    definition=DEFINITIONS["reach"],
    kind=Kind.SHARE,
    better="up",
)


def column(key: str) -> Column:
    """One of LABELS."""
    return Column(
        key=key, label=LABELS[key], definition=DEFINITIONS[key], better="down" if key == "gone" else "up"
    )


def build(query: Query) -> Sheet:
    """The growth in all, by channel and by who brought people; two queries."""
    found = audience.history(query.period)
    spans = (query.period, query.period.before)
    now, before = (_whole(found, span) for span in spans)
    return Sheet(
        cards=[column("profiles"), column("new"), column("gone")],
        figures=Row(key="", label=_("All people"), values=now, before=before if query.compare else None),
        charts=daily.drawable(_charts(query, found)),
        tables=[
            Table(
                slug="channels",
                title=_("By channel"),
                head=_("Channel"),
                columns=[column("agreed"), column("reachable"), REACH],
                rows=_channels(query, found, now["profiles"], before["profiles"]),
                note=str(DEFINITIONS["counted"]),
                empty=_("Nobody has agreed to any channel yet."),
            ),
            Table(
                slug="sources",
                title=_("Where new people came from"),
                head=_("Told by"),
                columns=[
                    Column(key="new", label=_("New"), definition=DEFINITIONS["came"], better="up"),
                    SHARE,
                ],
                rows=_sources(query, found),
                empty=_("Nobody came in this period."),
            ),
        ],
        notes=[str(DEFINITIONS["counted"])],
    )


def _whole(found: History, period: Period) -> dict[str, Any]:
    return {
        "profiles": found.known(found.profiles, period),
        "new": within(found.new, period),
        "gone": found.gone(period),
    }


def _charts(query: Query, found: History) -> list[Chart]:
    days = daily.drawn(query.period, {**found.profiles, **found.new})
    before = timedelta(days=query.period.days) if query.compare else None
    counted = [day for day in days if day in found.profiles]
    channels = sorted(found.reachable, key=lambda key: -max(found.reachable[key].values()))
    return [
        daily.chart("new", _("New people"), days, [(column("new"), found.new)], kind="bars", before=before),
        daily.chart("profiles", _("People"), counted, [(column("profiles"), found.profiles)], nothing=None),
        daily.chart(
            "reachable",
            _("Reachable by channel"),
            counted,
            [
                (
                    Column(
                        key=key, label=names.channel(key), definition=DEFINITIONS["reachable"], better="up"
                    ),
                    found.reachable[key],
                )
                for key in channels
            ],
        ),
    ]


def _channels(query: Query, found: History, profiles: int | None, earlier: int | None) -> list[Row]:
    rows = []
    for key in {**found.agreed, **found.reachable}:
        now, before = (
            _reach(found, key, span, people)
            for span, people in ((query.period, profiles), (query.period.before, earlier))
        )
        if any(now.values()) or any(before.values()):
            rows.append(
                Row(
                    key=key,
                    label=names.channel(key),
                    values=now,
                    before=before if query.compare else None,
                    leads=("optins", {"channel": key}),
                )
            )
    return sorted(rows, key=lambda row: (-(row.values["reachable"] or 0), row.key))


def _reach(found: History, key: str, period: Period, people: int | None) -> dict[str, Any]:
    agreed, reachable = (
        found.known(series.get(key, {}), period) for series in (found.agreed, found.reachable)
    )
    return {
        "agreed": agreed,
        "reachable": reachable,
        "reach": reachable / people if reachable is not None and people else None,
    }


def _sources(query: Query, found: History) -> list[Row]:
    """By who told something first; the objects of a CRM together."""
    crms = names.connections()
    told: dict[str, list[int]] = {}
    for source, series in found.came.items():
        key = source.partition(":")[0]
        numbers = told.setdefault(key, [0, 0])
        for place, span in enumerate((query.period, query.period.before)):
            numbers[place] += within(series, span)
    totals = [sum(numbers[place] for numbers in told.values()) for place in (0, 1)]
    rows = []
    for key, numbers in sorted(told.items(), key=lambda item: (-item[1][0], item[0])):
        if not any(numbers):
            continue
        now, before = (
            {"new": number, "share": number / whole if whole else None}
            for number, whole in zip(numbers, totals, strict=True)
        )
        rows.append(
            Row(
                key=key,
                label=names.sender(key, crms) if key else _("visitors without a name"),
                values=now,
                before=before if query.compare else None,
                leads=("sources", {}) if key in crms else None,
            )
        )
    return rows


REPORT = Report(
    slug="audience",
    title=gettext_lazy("Audience"),
    description=gettext_lazy("People who came and went, where they came from, and who can be reached."),
    group="people",
    permission="crm.view_profile",
    build=build,
    icon="groups",
)
