"""Half a year of the demo, with few people."""

from datetime import timedelta

import pytest
from django.utils import timezone

from analytics.reports import figures, periods
from campaigns.models import Broadcast, Enrollment, Experiment
from config.demo import content, lapsed, letters, success
from crm.models import Event, Profile
from tests.analytics import world

pytestmark = pytest.mark.django_db


def test_half_a_year_is_in_the_log_and_reports_count_it(monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(letters, "READERS", 24)
    monkeypatch.setattr(lapsed, "RUNS", 16)
    Profile.objects.bulk_create(
        Profile(email=f"p{n}@example.com", phone=f"+4860000{n:04d}", timezone="Europe/Warsaw", country="PL")
        for n in range(30)
    )
    content.create()
    success.create(now)
    sent = letters.create(now)
    assert lapsed.create(now) == 16
    assert not Event.objects.filter(occurred_at__gt=now).exists()
    assert Event.objects.filter(name="message_sent", occurred_at__lt=now - timedelta(days=180)).exists()
    world.count()
    found = figures.total(periods.last(200, now))
    assert found.sent + found.suppressed >= sent > 200
    assert found.suppressed, "some are held out"
    assert found.opened > found.clicked > 0
    assert found.converted
    assert set(found.revenue) == {"EUR"}, "złoty are converted"
    assert Experiment.objects.filter(state="running").count() >= 2
    assert not Broadcast.objects.exclude(state="finished").exists()
    assert Enrollment.objects.filter(holdout=True).exists()
