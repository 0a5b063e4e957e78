"""What goes first, and what is dropped rather than late."""

import json
from collections import Counter
from datetime import time, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import preferences
from crm.preferences import Wishes
from delivery import dispatch
from delivery.channels.memory import Memory
from delivery.models import Delivery
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


def sent() -> Counter[int]:
    return Counter(Delivery.objects.filter(state="sent").values_list("priority", flat=True))


def test_the_urgent_go_first_and_a_tenth_to_those_who_have_waited_longest(memory: Memory) -> None:
    ann = world.person(1)
    for priority, number, minutes in ((5, 15, 30), (3, 15, 20), (1, 15, 10)):
        for place in range(number):
            message = world.message(f"m{priority}-{place}")
            world.queue(message, [ann], now=NOW - timedelta(minutes=minutes), priority=priority)
    later = world.message("later")
    world.queue(later, [ann], priority=1, due_at=NOW + timedelta(hours=1))
    dispatch.run(NOW, limit=20)
    assert sent() == {1: 15, 3: 3, 5: 2}
    dispatch.run(NOW, limit=20)
    assert sent() == {1: 15, 3: 15, 5: 10}
    dispatch.run(NOW, limit=20)
    assert sent() == {1: 15, 3: 15, 5: 15}


def test_of_two_messages_that_meet_a_limit_the_urgent_one_goes_out(memory: Memory) -> None:
    ann = world.person(1)
    preferences.save(ann.pk, Wishes(frequencies={"news": "weekly"}), NOW)
    early = world.queue(world.message("calm", topic="news", expires_after_hours=500), [ann], priority=4)
    urgent = world.queue(world.message("now", topic="news"), [ann], priority=2)
    dropped = world.queue(world.message("drop", topic="news"), [ann], priority=5, when_limited="skip")
    dispatch.run(NOW)
    for delivery in (*early, *urgent, *dropped):
        delivery.refresh_from_db()
    assert urgent[0].state == "sent"
    assert (early[0].state, early[0].due_at) == ("deferred", NOW + timedelta(days=7))
    assert (dropped[0].state, dropped[0].reason) == ("suppressed", early[0].reason)


def test_quiet_hours_drop_what_is_not_to_be_late(memory: Memory) -> None:
    ann = world.person(1, timezone="America/New_York")
    preferences.save(ann.pk, Wishes(quiet_from=time(22), quiet_to=time(7)), NOW)
    [late] = world.queue(world.message("late"), [ann])
    [dropped] = world.queue(world.message("drop"), [ann], when_limited="skip")
    dispatch.run(NOW)
    late.refresh_from_db()
    dropped.refresh_from_db()
    assert (late.state, dropped.state) == ("deferred", "suppressed")
    assert late.reason == dropped.reason


def test_what_is_put_off_is_not_looked_at_by_the_claim(memory: Memory) -> None:
    ann = world.person(1)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, due_at,"
            " expires_at, origin_type, priority, queued_at) SELECT 'x' || n, %s, %s, 'memory', 'a', 'deferred',"
            " %s + interval '1 day', %s + interval '2 days', 'api', 1 + n %% 5, %s FROM generate_series(1, 5000) n",
            [world.message("put-off").pk, ann.pk, NOW, NOW, NOW],
        )
        cursor.execute("ANALYZE delivery_delivery")
    world.queue(world.message("due"), [ann], priority=5)
    with CaptureQueriesContext(connection) as queries:
        assert dispatch.run(NOW).sent == 1
    [claim] = [
        query["sql"] for query in queries if "AS MATERIALIZED" in query["sql"] and "oldest" in query["sql"]
    ]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + claim)
        [(plan,)] = cursor.fetchall()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    assert max(_rows(plan[0]["Plan"])) < 100


def _rows(node: dict):
    """How many rows each part of a plan looked at."""
    looked_at = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    yield sum(node.get(name, 0) for name in looked_at) * node.get("Actual Loops", 1)
    for child in node.get("Plans", []):
        yield from _rows(child)
