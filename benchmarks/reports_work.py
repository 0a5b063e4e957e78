"""The work of `benchmarks.reports`, in a process with the product's settings. Prints JSON."""

import json
import os
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection, connections  # noqa: E402

from analytics import projection  # noqa: E402
from analytics.goals import own, recompute  # noqa: E402
from analytics.models import RollupState  # noqa: E402
from analytics.rollups import columns, keeping, rebuild  # noqa: E402
from benchmarks.reports import DELIVERIES  # noqa: E402
from benchmarks.reports_data import fill, tell  # noqa: E402
from benchmarks.reports_views import views  # noqa: E402
from crm import log  # noqa: E402
from delivery.models import Delivery  # noqa: E402

ROUNDS = 20
LONGEST = 30.0  # seconds that one view is looked at
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
            min(occurred_at) FILTER (WHERE name = 'message_read') AS read_at,
            min(occurred_at) FILTER (WHERE name = 'message_bounced') AS bounced_at,
            min(occurred_at) FILTER (WHERE name = 'message_complained') AS complained_at,
            min(occurred_at) FILTER (WHERE name = 'message_machine_opened') AS machine_opened_at,
            min(occurred_at) FILTER (WHERE name = 'message_machine_clicked') AS machine_clicked_at,
            min(occurred_at) FILTER (WHERE name = 'consent_changed') AS unsubscribed_at,
            max(occurred_at) FILTER (WHERE name IN ('message_suppressed', 'message_failed')) AS ended_at,
            max(name) FILTER (WHERE name IN ('message_suppressed', 'message_failed')) AS ended,
            min(properties ->> 'reason') AS reason, min(properties ->> 'country') AS country,
            min(properties ->> 'zone') AS zone, min(properties ->> 'provider') AS provider,
            min(properties ->> 'locale') AS locale, min(properties ->> 'device') AS device
        FROM crm_event WHERE name LIKE 'message\\_%%' OR name = 'consent_changed' GROUP BY 1
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
    keeping.state()
    log.start_at_end(projection.CURSOR)
    log.move_to_end(projection.CURSOR)
    _execute("TRUNCATE analytics_engagement")
    rebuild.start(from_log=True)
    facts, longest = _stepped(RollupState.Stage.LOG)
    by_hand = _timed(_FACTS_BY_HAND, "delivery", indexes=("sent_at, delivery", "ended_at, delivery"))
    tell(f"facts from the log in {facts:.0f} s, the longest step {longest:.1f} s")
    _execute("VACUUM (ANALYZE) analytics_engagement")
    early: list[float] = []
    share = max(1, DELIVERIES // rebuild.CHUNK // 10)
    took, step = _stepped(
        RollupState.Stage.COUNTING, lambda steps: steps == share and early.append(_megabytes())
    )
    grown = max(0.0, _megabytes() - early[0])
    tell(f"figures from facts in {took:.0f} s, the longest step {step:.1f} s")
    rebuild.run(pause=0)
    counted = _timed(_BY_HAND, KEY, {"zone": keeping.account_zone()})
    statements = "hand-written statements"
    work = [
        ["facts from the log", facts, statements, by_hand],
        ["figures from the facts", took, statements, counted],
        ["both", facts + took, statements, by_hand + counted],
    ]
    _execute("VACUUM (ANALYZE) analytics_dayfigures")
    return {
        "work": work,
        "grown": grown,
        "longest": max(longest, step),
        "attribution": _attributed(),
        "rows": _one("SELECT count(*) FROM analytics_dayfigures"),
        "rows_mb": _one("SELECT pg_total_relation_size('analytics_dayfigures')") / 2**20,
        "facts_mb": _one("SELECT pg_total_relation_size('analytics_engagement')") / 2**20,
    }


def _stepped(stage: RollupState.Stage, told: Callable[[int], object] = bool) -> tuple[float, float]:
    """Go on with a rebuild while it is at this stage; seconds in all and of the longest step."""
    began, longest, steps = time.perf_counter(), 0.0, 0
    while RollupState.objects.get().stage == stage:
        step = time.perf_counter()
        rebuild.step()
        longest = max(longest, time.perf_counter() - step)
        steps += 1
        told(steps)
    return time.perf_counter() - began, longest


def _attributed() -> dict[str, float]:
    """Give all credits anew."""
    own.goal()
    recompute.check()
    recompute.plan()
    began = time.perf_counter()
    recompute.run(pause=0)
    found = {"seconds": time.perf_counter() - began, "credits": _one("SELECT count(*) FROM analytics_credit")}
    tell("{credits:,.0f} credits in {seconds:.0f} s".format(**found))
    _execute("VACUUM (ANALYZE) analytics_earnedday")
    _execute("VACUUM (ANALYZE) analytics_credit")
    return found


def _views() -> list[tuple[str, float, float, float]]:
    """Each view's name and milliseconds: when it is asked for the first time, the median after it, and p95."""
    found = []
    for name, view in views().items():
        began = time.perf_counter()
        view()
        first = time.perf_counter() - began
        # What takes seconds is not asked for as often.
        rounds = max(3, min(ROUNDS, int(LONGEST / first)))
        times = []
        for _round in range(rounds):
            began = time.perf_counter()
            view()
            times.append((time.perf_counter() - began) * 1000)
        times.sort()
        found.append((name, first * 1000, statistics.median(times), times[max(0, round(rounds * 0.95) - 1)]))
        tell("{}: first {:.0f} ms, then {:.0f} ms, p95 {:.0f} ms".format(*found[-1]))
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


def _timed(
    statement: str, key: str, values: dict[str, Any] | None = None, indexes: Sequence[str] = ()
) -> float:
    """How long a statement takes that makes a table, with its key and what else is looked for in it."""
    name = statement.split()[2]
    _execute(f"DROP TABLE IF EXISTS {name}")
    began = time.perf_counter()
    _execute(statement, values or {})
    _execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({key})")
    for columns_of in indexes:
        _execute(f"CREATE INDEX ON {name} ({columns_of})")
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
