"""What reports count, followed one event at a time, from the log and the deliveries alone."""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.db import connection

from analytics.models import DayFigures, RollupState, Series
from analytics.rollups.columns import COLUMNS
from crm.models import Event
from delivery.models import Delivery

Cells = dict[tuple[Any, ...], dict[str, int]]
FIRSTS = {
    "message_delivered": "shown",
    "message_opened": "opened",
    "message_clicked": "clicked",
    "message_dismissed": "dismissed",
    "message_read": "read",
    "message_bounced": "bounced",
    "message_complained": "complained",
    "message_machine_opened": "machine_opened",
    "message_machine_clicked": "machine_clicked",
}
HAPPENED = {
    "arrived": ("delivered", "arrivals"),
    "opened": ("opened", "opens"),
    "clicked": ("clicked", "clicks"),
    "dismissed": ("dismissed", "dismissals"),
    "read": ("read", "reads"),
    "bounced": ("bounced", "bounces"),
    "complained": ("complained", "complaints"),
    "unsubscribed": ("unsubscribed", "unsubscribes"),
    "machine_opened": ("machine_opened", "machine_opens"),
    "machine_clicked": ("machine_clicked", "machine_clicks"),
}


def stories() -> dict[int, dict[str, Any]]:
    """Delivery id -> what is known of it: the first time of each thing by its name, and more."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for event in Event.objects.order_by("txid", "seq"):
        told, name, at = event.properties, event.name, event.occurred_at
        story = found[told.get("delivery")]
        if name == "message_withdrawn":
            for each in told["names"]:
                story.pop(FIRSTS[each], None)
        elif name == "consent_changed" and told["state"] == "unsubscribed":
            story["unsubscribed"] = min(at, story.get("unsubscribed", at))
        elif name in ("message_suppressed", "message_failed"):
            how = "suppressed" if name == "message_suppressed" else told.get("state", "failed")
            story["end"] = max((at, how, told.get("reason", "")), story.get("end", (at, "", "")))
        elif name in FIRSTS:
            story[FIRSTS[name]] = min(at, story.get(FIRSTS[name], at))
        elif name == "message_sent":
            story["sent"] = at
            story |= {key: told.get(key, "") for key in ("locale", "country", "provider", "zone")}
        if told.get("device") and name in ("message_opened", "message_clicked", "message_sent"):
            rank = (name == "message_sent", at if name != "message_sent" else datetime.min, told["device"])
            story["device"] = min(rank, story.get("device", rank))
    return found


def figures(zone: str) -> Cells:
    """(dimension, value, day, series) -> what is counted there, only what is not zero."""
    cells: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    known = stories()
    for row in Delivery.objects.exclude(origin_type="test"):
        series = (
            row.message_id,
            row.channel,
            row.variant,
            row.origin_type,
            row.origin_id or 0,
            row.origin_step,
        )
        _count(cells, series, known.get(row.pk, {}), zone)
    return {cell: dict(+counts) for cell, counts in cells.items() if +counts}


def _count(cells: Any, series: tuple[Any, ...], story: dict[str, Any], zone: str) -> None:
    there = story.get("zone") if story.get("zone") in available_timezones() else zone
    about = {name: story.get(name, "") for name in ("locale", "country", "provider")}
    about["device"] = story["device"][2] if "device" in story else ""
    end = story.get("end")

    def add(column: str, at: datetime, reason: str = "") -> None:
        here, person = at.astimezone(ZoneInfo(zone)), at.astimezone(ZoneInfo(there or zone))
        values = about | {"hour": str(here.hour), "slot": f"{person.isoweekday()}-{person.hour:02d}", "": ""}
        if reason:
            values["reason"] = reason[:100]
        for dimension, value in values.items():
            cells[dimension, value, here.date(), series][column] += 1
        cells["week", f"{values['slot']} {series[1]}", here.date(), None][column] += 1

    if "sent" not in story:
        if end:
            add(end[1], end[0], end[2])
        return
    arrivals = [story[name] for name in ("shown", "opened", "clicked", "dismissed", "read") if name in story]
    if arrivals:
        story["arrived"] = min(arrivals)
    add("sent", story["sent"])
    for name, (of_sent, on_day) in HAPPENED.items():
        by_person = name.startswith("machine_") and name.removeprefix("machine_") in story
        if name in story and not by_person:
            add(of_sent, story["sent"])
            add(on_day, story[name])
    if end and end[1] == "failed":
        add("lost", story["sent"])
        add("losses", end[0], end[2])


def stored() -> Cells:
    """The same as the rollups have it."""
    series = {
        row.pk: (row.message_id, row.channel, row.variant, row.origin_type, row.origin_id, row.origin_step)
        for row in Series.objects.all()
    }
    found = {}
    for row in DayFigures.objects.filter(generation=RollupState.objects.get().generation):
        counts = {name: getattr(row, name) for name in COLUMNS if getattr(row, name)}
        if counts:
            found[row.dimension, row.value, row.day, series.get(row.series_id)] = counts
    return found


def empty() -> None:
    """Begin again with an empty database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE crm_event, crm_profile, delivery_message, crm_logcursor, analytics_engagement,"
            " analytics_series, analytics_dayfigures, analytics_rollupstate CASCADE"
        )
