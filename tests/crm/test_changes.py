"""The change feed names everybody of whom something watched has changed, and nobody else."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from crm import changes, consent, merging, privacy, suppressions, traits
from crm.models import ComputedAttribute, ComputedValue, Consent, Device, Identifier, Profile
from crm.profiles import ID, ProfilePatch, Row, upsert
from tests.crm.concurrently import run

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def told() -> dict[int | None, set[str]]:
    """What the feed holds, taken away."""
    found: dict[int | None, set[str]] = {}
    rows = changes.peek(1000)
    for row in rows:
        found.setdefault(row.profile_id, set()).update(row.fields)
    changes.drop([row.id for row in rows])
    return found


@pytest.fixture
def two():
    return [Profile.objects.create(email=f"{name}@x.com", country="PL") for name in ("a", "b")]


def test_nothing_is_kept_that_nobody_watches(two):
    one, _other = two
    Profile.objects.update(city="Riyadh")
    changes.touch([one.pk])
    assert told() == {}
    changes.watch(["country"])
    Profile.objects.update(city="Jeddah", last_seen=NOW)
    changes.touch([one.pk], ["event:purchase"])
    assert told() == {}
    changes.watch_only(list)
    Profile.objects.update(country="SA")
    assert told() == {} == dict.fromkeys(changes.watched())


def test_changes_of_a_profile_name_what_differs(two):
    one, other = two
    changes.watch(["country", "attributes", "last_seen"])
    Profile.objects.filter(pk=one.pk).update(country="SA", city="Riyadh")
    Profile.objects.filter(pk=other.pk).update(country="PL", city="Łódź")
    assert told() == {one.pk: {"country", "city"}}
    patches = [
        Row(ID, str(one.pk), ProfilePatch(country="SA", attributes={"plan": "pro"})),
        Row(ID, str(other.pk), ProfilePatch(country="PL")),
    ]
    upsert(patches, "api")
    assert {pk: fields & {"country", "attributes"} for pk, fields in told().items()} == {
        one.pk: {"attributes"}
    }
    upsert(patches, "api")
    assert told() == {}
    traits.fill_gaps([(one.pk, {"city": "Jeddah"}), (other.pk, {"country": "SA"})])
    assert told() == {}
    Profile.objects.filter(pk=other.pk).update(last_seen=NOW)
    third = Profile.objects.create()
    gone, third_id = other.pk, third.pk
    assert told() == {other.pk: {"last_seen"}, third.pk: {"created"}}
    third.delete()
    merging.merge([(gone, one.pk)], "test", NOW)
    found = told()
    assert found.pop(third_id) == found.pop(gone) == {"deleted"}
    assert "everything" in found.pop(one.pk)
    assert not found
    privacy.erase([one.pk], "test", NOW)
    assert "everything" in told()[one.pk]


def test_what_belongs_to_a_person_counts(two):
    one, other = two
    changes.watch(["consents", "devices", "suppressed", "computed"])
    yes = consent.Change(one.pk, "channel", "webpush", consent.SUBSCRIBED, "api", NOW)
    consent.record([yes])
    assert told() == {one.pk: {"consents"}}
    Consent.objects.update(source="admin")
    assert told() == {}
    Consent.objects.update(state="unsubscribed")
    assert told() == {one.pk: {"consents"}}
    Consent.objects.update(profile=other)
    assert told() == {one.pk: {"consents"}, other.pk: {"consents"}}

    device = Device.objects.create(profile=one, endpoint="https://push/1", p256dh="k", auth="a")
    assert told() == {one.pk: {"devices"}}
    Device.objects.update(user_agent="Firefox", auth="b")
    assert told() == {}
    Device.objects.update(state="gone")
    assert told() == {one.pk: {"devices"}}

    Identifier.objects.create(profile=other, kind="phone", value="+48600100200")
    wanted = [
        suppressions.Entry("webpush", device.endpoint),
        suppressions.Entry("all", "a@x.com"),
        suppressions.Entry("sms", "+48600100200"),
        suppressions.Entry("email", "nobody@x.com"),
    ]
    suppressions.add(wanted, "api")
    assert told() == {one.pk: {"suppressed"}, other.pk: {"suppressed"}}
    suppressions.add(wanted, "api")
    assert told() == {}
    suppressions.remove(wanted[:1])
    assert told() == {one.pk: {"suppressed"}}

    served = ComputedAttribute.objects.create(slug="a", name="A", kind="count", config={}, served=True)
    filling = ComputedAttribute.objects.create(slug="b", name="B", kind="count", config={})
    ComputedValue.objects.create(profile=one, attribute=served, number=1)
    ComputedValue.objects.create(profile=other, attribute=filling, number=1)
    assert told() == {one.pk: {"computed"}}
    ComputedValue.objects.update(due_at=NOW)
    assert told() == {}
    ComputedValue.objects.update(number=2)
    assert told() == {one.pk: {"computed"}}
    ComputedValue.objects.all().delete()
    assert told() == {one.pk: {"computed"}}


def test_the_oldest_rows_come_first(two):
    changes.watch(["country"])
    for country in ("SA", "DE"):
        Profile.objects.update(country=country)
    assert (len(changes.peek(3)), changes.waiting(2), changes.waiting(9)) == (3, 2, 4)
    assert changes.drop_some(3) == 3
    assert [row.profile_id for row in changes.peek(9)] == [two[1].pk]
    changes.touch_everybody()
    assert None in told()


@pytest.mark.django_db(transaction=True)
def test_it_is_known_when_every_change_is_seen():
    began, watched = threading.Event(), threading.Event()
    before = []

    def writer():
        with transaction.atomic():
            Profile.objects.create()
            began.set()
            assert watched.wait(30)

    def watcher():
        assert began.wait(30)
        changes.watch(["country"])
        before.append(changes.settled(["country"]))
        watched.set()

    run(writer, watcher)
    assert before == [False]
    for _try in range(600):  # transactions of other databases on this server count as well
        if changes.settled(["country"]):
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.05)")
    raise AssertionError("it never settles")
