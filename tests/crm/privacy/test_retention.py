"""Events go when their time is over, never before every reader has read them, and whole months at once."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Sum

from campaigns.models import Segment
from crm import log, partitions, retention
from crm.models import ClosedMonth, ComputedAttribute, Event, EventRetention, LogCursor, Profile, Removal

NOW = datetime(2026, 6, 15, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_months(request, monkeypatch):
    """Months of other tests stay in the database, empty and over. Only tests that can take months out have some."""
    mine = {partitions.month_of(NOW - timedelta(days=ago)) for ago in (5, 170, 200)}
    shown = mine if "transactional_db" in request.fixturenames else set()
    months = partitions.months
    monkeypatch.setattr(partitions, "months", lambda: [month for month in months() if month in shown])


@pytest.fixture
def person(db) -> Profile:
    return Profile.objects.create(email="ada@example.com")


def happened(person: Profile, name: str, *days: int) -> None:
    log.append(
        [log.NewEvent(uuid.uuid4(), person.pk, name, NOW - timedelta(days=ago), {}, "api") for ago in days]
    )


def left() -> list[tuple[str, int]]:
    return sorted((event.name, (NOW - event.occurred_at).days) for event in Event.objects.all())


def test_each_name_has_its_time_and_the_rest_the_others(person, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    happened(person, "seen", 1, 10, 11, 12, 13, 14)
    happened(person, "bought", 10, 29, 31)
    happened(person, "other", 29, 31)
    EventRetention.objects.create(name="seen", days=11)
    assert retention.doomed("seen", 11, NOW) == 3
    assert retention.doomed("", 30, NOW) == 2
    assert retention.apply(NOW) == 3
    assert left() == [("bought", 10), ("bought", 29), ("bought", 31), ("other", 29), ("other", 31)] + [
        ("seen", ago) for ago in (1, 10, 11)
    ]
    EventRetention.objects.create(name="", days=30)
    EventRetention.objects.create(name="bought", days=9999)
    assert retention.apply(NOW) == 1
    assert ("bought", 31) in left()
    assert ("other", 31) not in left()
    assert retention.apply(NOW) == 0
    noted = dict(Removal.objects.values_list("name").annotate(Sum("rows")))
    assert noted == {"seen": 3, "other": 1}


def test_what_a_reader_has_not_read_stays(person):
    happened(person, "seen", 12)
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid, seq FROM crm_event")
        txid, seq = cursor.fetchone()
    EventRetention.objects.create(name="", days=9)
    cursor = LogCursor.objects.create(name="slow", txid=txid, seq=seq - 1)
    assert retention.apply(NOW) == 0
    LogCursor.objects.create(name="quick", txid=txid, seq=seq)
    assert retention.apply(NOW) == 0
    LogCursor.objects.filter(pk=cursor.pk).update(seq=seq)
    assert retention.apply(NOW) == 1


def test_a_month_that_is_over_as_a_whole_goes_at_once(transactional_db):
    person = Profile.objects.create(email="ada@example.com")
    happened(person, "seen", 200, 201)
    happened(person, "bought", 170, 171, 5)
    EventRetention.objects.create(name="seen", days=30)
    EventRetention.objects.create(name="bought", days=9999)
    old = partitions.month_of(NOW - timedelta(days=200))
    assert old in partitions.months()
    try:
        assert retention.apply(NOW) == 2
        assert old not in partitions.months()
        assert partitions.month_of(NOW - timedelta(days=170)) in partitions.months()
        assert Removal.objects.get().name == f"{old:%Y-%m}"
    finally:
        ClosedMonth.objects.all().delete()
        partitions.forget()


def test_a_month_that_could_not_go_the_first_time_goes_later(transactional_db, monkeypatch):
    person = Profile.objects.create(email="ada@example.com")
    happened(person, "seen", 200, 201)
    old = partitions.month_of(NOW - timedelta(days=200))
    EventRetention.objects.create(name="", days=30)

    class Dying(set):
        def discard(self, _month):
            raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patched, connection.cursor() as cursor:
            patched.setattr(partitions, "_known", Dying())
            with pytest.raises(KeyboardInterrupt):
                retention.apply(NOW)
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [retention._table(old)])
            assert cursor.fetchone()[0]
        assert retention.apply(NOW) == 2
        assert not partitions.unfinished()
        assert Removal.objects.get(name=f"{old:%Y-%m}").rows == 2
    finally:
        ClosedMonth.objects.all().delete()
        partitions.forget()


def test_what_looks_further_back_is_named(person):
    ComputedAttribute.objects.create(
        slug="visits", name="Visits", kind="count", config={"event": "seen", "last_days": 60}
    )
    assert retention.cut_short("seen", 30) == ["Visits"]
    assert retention.cut_short("", 30) == ["Visits"]
    assert retention.cut_short("seen", 60) == []
    Segment.objects.create(
        slug="back",
        name="Back",
        rule={"all": [{"kind": "event", "name": "seen", "within": {"last": {"hours": 49}}}]},
    )
    assert retention.cut_short("seen", 3) == ["Visits"]
    assert retention.cut_short("seen", 2) == ["Visits", "the segment “Back”"]
    EventRetention.objects.create(name="seen", days=90)
    assert retention.cut_short("", 30) == []
