"""What a filled database shows from its upgrade on, until everything is counted in the background."""

import importlib
from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import connection

from analytics.goals import own, recompute
from analytics.models import Credit, DayFigures, EarnedDay, Goal
from tests.analytics import world
from tests.analytics.goals import reference

pytestmark = pytest.mark.django_db(transaction=True)
LATE = datetime(2026, 3, 1, 22, tzinfo=UTC)  # elsewhere the next day has begun
upgrade = importlib.import_module("analytics.migrations.0005_goals_in_full")


def test_reports_are_as_full_as_the_reader_has_made_them(settings):
    settings.TIME_ZONE = "Europe/Warsaw"
    recompute.save(Goal(slug="bought", name="bought", event="purchase"))
    recompute.run(pause=0)
    ann, about = world.person(), world.message(goal_window_hours=24)
    for channel, code in (("webpush", "EUR"), ("email", "JPY"), ("email", "")):
        sent = world.delivery(about, ann, at=LATE, channel=channel)
        world.engages(sent, "clicked", LATE + timedelta(hours=1))
        world.happens(ann, "purchase", LATE + timedelta(hours=3), total=7, currency=code)
        world.happens(ann, "purchase", LATE + timedelta(hours=3), total="?", currency=code)
    world.read()
    mine = Credit.objects.filter(goal=own.goal())
    mine.exclude(model="last_click").delete()  # there was no other way to count them
    stored, earned, days = reference.stored(), reference.earned(), _days()
    assert mine.count() == 6
    assert {key[0] for key in days} >= {"slot", "week"}
    mine.delete()
    EarnedDay.objects.all().delete()
    DayFigures.objects.filter(dimension="week").delete()
    upgrade.fill(apps, connection.schema_editor())
    assert reference.stored() == stored
    assert reference.kept() == earned != {}
    assert _days() == days


def _days() -> dict[tuple, tuple]:
    rows = DayFigures.objects.values_list(
        "dimension", "day", "series_id", "value", *upgrade.COUNTS, "generation"
    )
    return {row[:4]: row[4:] for row in rows}
