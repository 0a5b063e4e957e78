"""Who says yes and no to channels and topics, and who told it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import daily, names
from analytics.reporting.columns import columns, compared
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Choice, Column, Report, Row, Sheet, Table
from analytics.reports import audience, figures
from analytics.reports.audience import DEFINITIONS, Changes, OptIns
from analytics.reports.filters import Filters
from crm.models import Topic

CHANNELS, TOPICS = "channels", "topics"
KEYS = ("joined", "left", "net")
SHOWN = 20  # messages
BY_MESSAGE = ("unsubscribes", "sent", "unsubscribe_rate")


def build(query: Query) -> Sheet:
    """A row for each channel or topic and for each who told; and by which messages people said no. Four queries."""
    topics = query.choice("about") == TOPICS
    found = audience.changes(query.period, "topic_" if topics else "")
    wanted = query.filters.channel if not topics else ""
    keys = [key for key in found.days if wanted in ("", key)]
    called = _topics() if topics else {key: names.channel(key) for key in keys}
    shown = _columns(topics)
    rows = [
        _row(
            key,
            called.get(key, key),
            found.of(key, query.period),
            found.of(key, query.period.before),
            query,
            None if topics else {"channel": key},
        )
        for key in keys
    ]
    rows = [row for row in rows if any(row.values.values()) or any((row.before or {}).values())]
    rows.sort(key=lambda row: (-row.values["joined"] - row.values["left"], row.key))
    every = _row(
        "",
        _("All together"),
        _sum(found.of(key, query.period) for key in keys),
        _sum(found.of(key, query.period.before) for key in keys),
        query,
        None,
    )
    tables = [
        Table(
            slug="topics" if topics else "channels",
            title=_("By topic") if topics else _("By channel"),
            head=_("Topic") if topics else _("Channel"),
            columns=shown,
            rows=rows,
            total=every if rows else None,
            empty=_("Nobody said yes or no in this period."),
        ),
        Table(
            slug="sources",
            title=_("By who told it"),
            head=_("Told by"),
            columns=shown,
            rows=_sources(found, keys, query),
            note=_("Yes and no that people said more than once count for who told what made the difference."),
            empty=_("Nobody said yes or no in this period."),
        ),
    ]
    if not topics:
        tables.append(_messages(query))
    return Sheet(
        cards=shown,
        figures=every,
        charts=daily.drawable(_charts(query, found, keys, called, shown)),
        tables=tables,
        notes=[str(DEFINITIONS["counted"])],
    )


def _columns(topics: bool) -> list[Column]:
    about = "topic_" if topics else ""
    return [
        Column(key="joined", label=_("Said yes"), definition=DEFINITIONS[f"{about}joined"], better="up"),
        Column(key="left", label=_("Said no"), definition=DEFINITIONS[f"{about}left"], better="down"),
        Column(key="net", label=_("Net"), definition=DEFINITIONS["net"], better="up"),
    ]


def _topics() -> dict[str, str]:
    return dict(Topic.objects.values_list("slug", "name"))


def _sum(parts: Any) -> OptIns:
    total = OptIns()
    for part in parts:
        total.joined += part.joined
        total.left += part.left
    return total


def _values(one: OptIns) -> dict[str, int]:
    return {key: getattr(one, key) for key in KEYS}


def _row(
    key: str, label: str, now: OptIns, before: OptIns, query: Query, leads: dict[str, str] | None
) -> Row:
    return Row(
        key=key,
        label=label,
        values=_values(now),
        before=_values(before) if query.compare else None,
        leads=("optins", leads) if leads and not query.filters.channel else None,
    )


def _sources(found: Changes, keys: list[str], query: Query) -> list[Row]:
    crms = names.connections()
    told: dict[str, tuple[OptIns, OptIns]] = {}
    for (key, source), numbers in found.told.items():
        if key in keys:
            held = told.get(source, (OptIns(), OptIns()))
            told[source] = (_sum((held[0], numbers[0])), _sum((held[1], numbers[1])))
    rows = [
        _row(source or "-", names.sender(source, crms), now, before, query, None)
        for source, (now, before) in told.items()
        if now.joined or now.left or (query.compare and (before.joined or before.left))
    ]
    return sorted(rows, key=lambda row: (-row.values["joined"] - row.values["left"], row.key))


def _messages(query: Query) -> Table:
    found = figures.by_before("message", query.period, Filters(channel=query.filters.channel))
    most = sorted(found.items(), key=lambda item: (-item[1].now.unsubscribes, item[0]))[:SHOWN]
    most = [(key, both) for key, both in most if both.now.unsubscribes]
    called = names.messages([key for key, _both in most])
    rows = []
    for key, both in most:
        now, before = compared(both, BY_MESSAGE, query.compare)
        rows.append(
            Row(
                key=str(key),
                label=called.get(key, str(key)),
                values=now,
                before=before,
                narrows={"message": str(key), **_narrowed(query)},
                leads=("message", {"message": str(key)}),
            )
        )
    return Table(
        slug="messages",
        title=_("Messages by which people said no"),
        head=_("Message"),
        columns=columns(BY_MESSAGE),
        rows=rows,
        empty=_("Nobody said no by a link in a message."),
    )


def _narrowed(query: Query) -> dict[str, str]:
    return {"channel": query.filters.channel} if query.filters.channel else {}


def _charts(
    query: Query, found: Changes, keys: list[str], called: Mapping[str, str], shown: list[Column]
) -> list[Chart]:
    by_day: dict[date, OptIns] = {}
    for key in keys:
        for day, one in found.days[key].items():
            by_day[day] = _sum((by_day.get(day, OptIns()), one))
    days = daily.drawn(query.period, by_day)
    before = timedelta(days=query.period.days) if query.compare else None
    joined, left, net = shown
    return [
        daily.chart(
            "changes",
            _("Yes and no by day"),
            days,
            [
                (joined, {day: one.joined for day, one in by_day.items()}),
                (left, {day: one.left for day, one in by_day.items()}),
            ],
            before=before,
        ),
        daily.chart(
            "net",
            _("Net by day"),
            days,
            [
                (
                    Column(key=key, label=called.get(key, key), definition=net.definition, better="up"),
                    {day: one.net for day, one in found.days[key].items()},
                )
                for key in keys
            ],
        ),
    ]


REPORT = Report(
    slug="optins",
    title=gettext_lazy("Yes and no"),
    description=gettext_lazy("Opt-ins and opt-outs by channel and topic, and who told them."),
    group="people",
    permission="crm.view_profile",
    takes=frozenset({"channel"}),
    choices=(
        Choice(
            name="about",
            label=gettext_lazy("About"),
            options=((CHANNELS, gettext_lazy("channels")), (TOPICS, gettext_lazy("topics"))),
        ),
    ),
    build=build,
    icon="how_to_reg",
)
