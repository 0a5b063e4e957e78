"""Reports about messages and broadcasts, as whoever reads them asks for them."""

from datetime import timedelta

import pytest

from analytics.reporting import query, registry
from campaigns.models import Broadcast, Segment
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db


def ask(slug, **params):
    report = registry.reports()[slug]
    return report.build(query.parse(report, params, NOW))


def table(sheet, slug):
    return next(each for each in sheet.tables if each.slug == slug)


def test_messages_and_one_of_them():
    wanted, ann = world.message(), world.person()
    one = world.delivery(wanted, ann, "delivered", NOW - timedelta(hours=1))
    world.engages(one, "clicked", NOW)
    world.delivery(wanted, world.person(), "suppressed", NOW - timedelta(hours=1))
    world.delivery(wanted, world.person(), "deferred", NOW - timedelta(hours=1), reason="quiet hours")
    world.count()
    sheet = ask("messages")
    assert [(row.key, row.values["clicked"]) for row in sheet.tables[0].rows] == [("welcome", 1)]
    for by in ("variant", "origin", "flow", "broadcast"):
        ask("messages", by=by)
    sheet = ask("message", message="welcome")


def test_broadcasts():
    wanted, ann = world.message(), world.person()
    segment = Segment.objects.create(slug="s", name="S", rule={})
    made = Broadcast.objects.create(
        name="B",
        message=wanted,
        segment=segment,
        state="finished",
        audience=4,
        launched_at=NOW,
        started_at=NOW,
    )
    one = world.delivery(wanted, ann, "delivered", NOW, origin_type="broadcast", origin_id=made.pk)
    world.engages(one, "clicked", NOW + timedelta(hours=3))
    world.delivery(wanted, world.person(), "suppressed", NOW, origin_type="broadcast", origin_id=made.pk)
    world.count()
    sheet = ask("broadcasts")
    sheet = ask("broadcast", broadcast=str(made.pk))
