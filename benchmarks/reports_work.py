"""The work of `benchmarks.reports`, in a process with the product's settings. Prints JSON."""

import json
import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection, connections  # noqa: E402

from analytics import projection  # noqa: E402
from analytics.models import Engagement, RollupState  # noqa: E402
from analytics.reports import (  # noqa: E402
    deliverability,
    figures,
    heat,
    messages,
    overview,
    people,
    periods,
)
from analytics.reports.filters import Filters  # noqa: E402
from analytics.rollups import columns, keeping, rebuild  # noqa: E402
from benchmarks.reports import DELIVERIES  # noqa: E402
from benchmarks.reports_data import fill, tell  # noqa: E402
from crm import log  # noqa: E402
from delivery.models import Delivery, Message  # noqa: E402

ROUNDS = 20
BURST_SECONDS = 20
RATE = 1500  # events/s
KEY = "dimension, day, series_id, value"

_TARGET = "(SELECT 0 AS generation, %(zone)s AS zone, NULL::bigint AS upto)"
_BY_HAND = f"""
    CREATE TABLE bench_figures AS {columns.counted("(SELECT *, 1 AS sign FROM analytics_engagement)", _TARGET)}
"""
_FACTS_BY_HAND = """
    CREATE TABLE bench_facts AS
    SELECT e.*, d.message_id, d.channel, d.variant, d.origin_type, d.origin_id, d.origin_step FROM (
        SELECT (properties ->> 'delivery')::bigint AS delivery,
            min(occurred_at) FILTER (WHERE name = 'message_sent') AS sent_at,
            min(occurred_at) FILTER (WHERE name = 'message_delivered') AS shown_at,
            min(occurred_at) FILTER (WHERE name = 'message_opened') AS opened_at,
            min(occurred_at) FILTER (WHERE name = 'message_clicked') AS clicked_at,
            min(occurred_at) FILTER (WHERE name = 'message_dismissed') AS dismissed_at,
            min(occurred_at) FILTER (WHERE name = 'message_bounced') AS bounced_at,
            min(occurred_at) FILTER (WHERE name = 'message_complained') AS complained_at,
            min(occurred_at) FILTER (WHERE name = 'message_machine_opened') AS machine_opened_at,
            min(occurred_at) FILTER (WHERE name = 'message_suppressed') AS ended_at,
            min(properties ->> 'reason') AS reason, min(properties ->> 'country') AS country,
            min(properties ->> 'zone') AS zone, min(properties ->> 'provider') AS provider,
            min(properties ->> 'locale') AS locale, min(properties ->> 'device') AS device
        FROM crm_event WHERE name LIKE 'message\\_%%' GROUP BY 1
    ) e JOIN delivery_delivery d ON d.id = e.delivery
"""


def main() -> None:
    """Fill, count, measure, print."""
    now = datetime.now(UTC)
    fill(now, DELIVERIES)
    found: dict[str, Any] = {"deliveries": DELIVERIES, "events": _one("SELECT count(*) FROM crm_event")}
    found |= _counting()
    found["views"] = _views()
    found |= _reading()
    print(json.dumps(found))


def _counting() -> dict[str, Any]:
    """The facts from the log, and the figures from the facts, each beside one statement."""
    work = []
    keeping.state()
    log.start_at_end(projection.CURSOR)
    log.move_to_end(projection.CURSOR)
    if not Engagement.objects.exists():
        rebuild.start(from_log=True)
        began = time.perf_counter()
        while RollupState.objects.get().stage == RollupState.Stage.LOG:
            rebuild.step()
        facts = time.perf_counter() - began
        tell(f"facts from the log in {facts:.0f} s")
        work.append(
            [
                "facts and figures from the log",
                facts,
                "one statement, facts alone",
                _timed(_FACTS_BY_HAND, "delivery"),
            ]
        )
        rebuild.run(pause=0)
    _execute("VACUUM (ANALYZE) analytics_engagement")
    _execute("VACUUM (ANALYZE) analytics_dayfigures")
    rebuild.start()
    began, longest, early = time.perf_counter(), 0.0, 0.0
    share = max(1, DELIVERIES // rebuild.CHUNK // 10)
    steps = 0
    while RollupState.objects.get().stage == RollupState.Stage.COUNTING:
        step = time.perf_counter()
        rebuild.step()
        longest = max(longest, time.perf_counter() - step)
        steps += 1
        if steps == share:
            early = _megabytes()
    took = time.perf_counter() - began
    grown = max(0.0, _megabytes() - early)
    tell(f"figures from facts in {took:.0f} s")
    rebuild.run(pause=0)
    work.append(
        [
            "figures from the facts",
            took,
            "one statement",
            _timed(_BY_HAND, KEY, {"zone": keeping.account_zone()}),
        ]
    )
    _execute("VACUUM (ANALYZE) analytics_dayfigures")
    return {
        "work": work,
        "grown": grown,
        "longest": longest,
        "rows": _one("SELECT count(*) FROM analytics_dayfigures"),
        "rows_mb": _one("SELECT pg_total_relation_size('analytics_dayfigures')") / 2**20,
        "facts_mb": _one("SELECT pg_total_relation_size('analytics_engagement')") / 2**20,
    }


def _views() -> list[tuple[str, float, float]]:
    wanted = Message.objects.order_by("pk")[0]
    month, quarter = periods.last(30), periods.last(90)
    since, until = month.bounds()
    views: dict[str, Callable[[], object]] = {
        "home, 30 days": lambda: (overview.overview(days=30), messages.by_message(since, until)),
        "home, 90 days": lambda: (overview.overview(days=90), messages.by_message(*quarter.bounds())),
        "home, 7 days": lambda: overview.overview(days=7),
        "today by hour": lambda: figures.hours(periods.last(1).last),
        "all messages, 90 days": lambda: figures.by_before("message", quarter),
        "one message, ever": lambda: (
            messages.report(wanted),
            messages.by_day(wanted),
            messages.by_locale(wanted),
        ),
        "one flow's steps": lambda: messages.by_step(1),
        "broadcasts, 90 days": lambda: figures.by_before("broadcast", quarter),
        "channels, 90 days": lambda: figures.by_before("channel", quarter),
        "countries, 90 days": lambda: figures.by_before("country", quarter),
        "one country by day": lambda: figures.days(quarter, Filters(country="PL")),
        "heat map, 90 days": lambda: heat.week(quarter),
        "deliverability, 90 days": lambda: deliverability.report(quarter),
        "people who clicked": lambda: people.page("clicks", month, Filters(message=wanted.pk)),
        "people who complained": lambda: people.page("complained", month),
    }
    found = []
    for name, view in views.items():
        view()
        times = []
        for _round in range(ROUNDS):
            began = time.perf_counter()
            view()
            times.append((time.perf_counter() - began) * 1000)
        times.sort()
        found.append((name, statistics.median(times), times[int(ROUNDS * 0.95) - 1]))
        tell(f"{name}: {found[-1][1]:.0f} ms, p95 {found[-1][2]:.0f} ms")
    return found


def _reading() -> dict[str, float]:
    """How far the reader is behind while reports come, and how fast it is when many wait."""
    ids = list(
        Delivery.objects.filter(state="sent")
        .order_by("-pk")
        .values_list("pk", "profile_id")[: RATE * BURST_SECONDS]
    )
    _read_all()
    done = threading.Event()
    lags: list[float] = []

    def read() -> None:
        while not done.is_set() or log.lag(projection.CURSOR):
            projection.read()
            lags.append(_behind())
        connections.close_all()

    reader = threading.Thread(target=read)
    reader.start()
    began, told = time.perf_counter(), 0
    for start in range(0, len(ids), RATE // 10):
        part = ids[start : start + RATE // 10]
        log.append([_dismissed(pk, profile) for pk, profile in part])
        told += len(part)
        time.sleep(max(0.0, told / RATE - (time.perf_counter() - began)))
    rate = told / (time.perf_counter() - began)
    done.set()
    reader.join()
    log.append([_event(pk, profile, "message_read") for pk, profile in ids])
    time.sleep(0.1)
    began = time.perf_counter()
    _read_all()
    return {"rate": rate, "lag": max(lags, default=0.0), "reads": len(ids) / (time.perf_counter() - began)}


def _behind() -> float:
    """For how many seconds the oldest event that is not read yet has been there."""
    return float(
        _one(
            """
            SELECT coalesce(extract(epoch FROM clock_timestamp() - (
                SELECT e.received_at FROM crm_event e, crm_logcursor c
                WHERE c.name = 'analytics' AND (e.txid, e.seq) > (c.txid, c.seq)
                ORDER BY e.txid, e.seq LIMIT 1)), 0)
            """
        )
    )


def _dismissed(pk: int, profile: int) -> log.NewEvent:
    return _event(pk, profile, "message_dismissed")


def _event(pk: int, profile: int, name: str) -> log.NewEvent:
    return log.NewEvent(
        uuid.uuid4(), profile, name, datetime.now(UTC) - timedelta(seconds=1), {"delivery": pk}, "device"
    )


def _read_all() -> None:
    while log.lag(projection.CURSOR):
        projection.read()


def _timed(statement: str, key: str, values: dict[str, Any] | None = None) -> float:
    """How long a statement takes that makes a table, and the key that a report needs to find anything in it."""
    name = statement.split()[2]
    _execute(f"DROP TABLE IF EXISTS {name}")
    began = time.perf_counter()
    _execute(statement, values or {})
    _execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
    took = time.perf_counter() - began
    _execute(f"DROP TABLE {name}")
    tell(f"{name} by hand in {took:.0f} s")
    return took


def _execute(statement: str, values: dict[str, Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _one(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def _megabytes() -> float:
    """What this process holds, by Linux's own account."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
