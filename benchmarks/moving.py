"""Moving people who are inside a flow to a new version, half of them from a step that it no longer has.

Beside one UPDATE of the same rows, which writes no decisions and would hold up everybody for its length; then stopping
the flow for all of them. BENCH_INSIDE says how many people are inside (100,000 unless set).
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.product import product
from benchmarks.table import Row, row

INSIDE = int(os.environ.get("BENCH_INSIDE", "100000"))


def rows() -> list[Row]:
    """Measure in a process with the product's settings."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder, product(Path(folder)) as served:
        figures = served.figures("benchmarks.moving")
    by = "one UPDATE of the rows alone"
    return [
        row(
            f"people moved to a new version, {INSIDE:,} inside",
            figures["moved"],
            "runs/s",
            by,
            figures["update"],
        ),
        row(
            f"people ended by stopping, {INSIDE:,} inside", figures["ended"], "runs/s", by, figures["update"]
        ),
        row("longest hold of the log while moving", figures["longest_ms"], "ms", "a second", 1000),
    ]


def main() -> None:
    """Print the figures as one JSON object."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from django.db import connection

    from campaigns.flows import jobs, publish
    from campaigns.models import Enrollment, Flow, FlowJob

    def wait(key: str, days: int) -> dict:
        return {"key": key, "kind": "wait", "config": {"amount": days, "unit": "days"}}

    def edit(steps: list[dict]) -> None:
        Flow.objects.update(draft={"trigger": {"kind": "event", "name": "began"}, "steps": steps})

    flow = Flow.objects.create(slug="bench", name="Bench", draft={})
    edit([wait("w1", 2), wait("w2", 3), wait("w3", 4)])
    publish.publish(flow.pk)
    flow.refresh_from_db()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_profile (external_id, attributes, first_seen, last_seen)"
            " SELECT 'p' || n, '{}', now(), now() FROM generate_series(1, %s) AS n",
            [INSIDE],
        )
        cursor.execute(
            "INSERT INTO campaigns_enrollment (flow_id, version_id, profile_id, run_key, state, step, due_at,"
            " step_state, context, entered_at) SELECT %s, %s, id, 'once', 'active', 'w' || 1 + id %% 2,"
            " now() + random() * interval '1 day', jsonb_build_object('until', now() + interval '1 day'),"
            " jsonb_build_object('event', jsonb_build_object('name', 'began', 'occurred_at', now())), now()"
            " FROM crm_profile",
            [flow.pk, flow.live_version_id],
        )
        cursor.execute(
            "INSERT INTO campaigns_decision (enrollment_id, flow_id, profile_id, step, kind, detail, at)"
            " SELECT id, flow_id, profile_id, step, 'wait:wait', '{}', now() FROM campaigns_enrollment"
        )
        cursor.execute("ANALYZE")
        update = timed(
            lambda: cursor.execute("UPDATE campaigns_enrollment SET due_at = due_at + interval '1 hour'")
        )
        cursor.execute("VACUUM (ANALYZE) campaigns_enrollment")
    longest = 0.0
    piece = jobs._piece

    def measured(*args):
        nonlocal longest
        began = time.monotonic()
        try:
            return piece(*args)
        finally:
            longest = max(longest, time.monotonic() - began)

    jobs._piece = measured
    edit([wait("w2", 5), wait("w3", 4)])

    def move() -> None:
        publish.publish(flow.pk, people="move")
        while FlowJob.objects.filter(state="running").exists():
            jobs.work(60)

    def stop() -> None:
        publish.stop(flow.pk)
        while FlowJob.objects.filter(state="running").exists():
            jobs.work(60)

    moved = timed(move)
    longest_ms = longest * 1000
    assert not Enrollment.objects.filter(state="active", version__number=1).exists()
    ended = timed(stop)
    assert not Enrollment.objects.filter(state="active").exists()
    print(
        json.dumps(
            {
                "update": INSIDE / update,
                "moved": INSIDE / moved,
                "ended": INSIDE / ended,
                "longest_ms": longest_ms,
            }
        )
    )


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
