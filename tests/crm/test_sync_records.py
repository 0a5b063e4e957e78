"""Storing pages of CRM records: broken values, several CRMs about one person, and records that come back."""

from datetime import UTC, datetime, timedelta

import pytest

from crm import consent
from crm.connectors.base import Page, Record
from crm.connectors.hubspot_values import typed
from crm.models import Connection, Consent, Identifier, Profile, SyncReject, SyncRun
from crm.sync import mapping as mappings
from crm.sync.apply import apply

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = mappings.parse(
    {
        "fields": {"email": "email", "likes": "attributes.likes"},
        "consent": {"push": {"kind": "channel", "key": "webpush"}},
    }
)


def at(minutes):
    return NOW + timedelta(minutes=minutes)


def crm(slug):
    connection = Connection.objects.create(kind="hubspot", name=slug, slug=slug)
    return SyncRun.objects.create(connection=connection, state=SyncRun.State.RUNNING)


def record(number=1, minutes=0, deleted=False, **fields):
    return Record(str(number), at(minutes), {} if deleted else {"email": "a@x.com", **fields}, deleted)


def store(run, *records, current=True, minutes=0):
    return apply(run, Page("contacts", list(records), {}, current=current), MAPPING, "person", at(minutes))


def state():
    return Consent.objects.get(key="webpush").state


@pytest.mark.parametrize("broken", [["a\x00b"], ["\ud800"], {"a": "\x00"}, {"\x00": [1]}, float("nan")])
def test_a_value_no_database_can_hold_is_rejected_alone(broken):
    counts = store(crm("one"), record(1, likes=broken), record(2, likes="tea", email="b@x.com"))
    assert (counts.rejected, counts.created) == (1, 1)
    assert SyncReject.objects.get().record_id == "1"


def test_a_number_of_thousands_of_digits_is_kept_as_its_text():
    digits = "1" * 5000
    assert typed(digits, "number") == digits


class TestSeveralCrms:
    def test_a_yes_stands_while_another_crm_vouches_for_it(self):
        one, two = crm("one"), crm("two")
        store(one, record(push=True))
        store(two, record(7, push=True))
        store(one, record(minutes=5, deleted=True))
        assert state() == "subscribed"
        store(two, record(7, minutes=6, deleted=True))
        assert state() == "unsubscribed"

    def test_another_crm_that_does_not_say_yes_does_not_vouch(self):
        one, two = crm("one"), crm("two")
        store(one, record(push=True))
        store(two, record(7))
        store(one, record(minutes=5, deleted=True))
        assert state() == "unsubscribed"


class TestComingBack:
    def test_a_restored_record_brings_its_yes_back(self):
        run = crm("one")
        store(run, record(push=True))
        store(run, record(minutes=5, deleted=True))
        assert state() == "unsubscribed"
        store(run, record(push=True), minutes=10)  # restoring does not touch the time of the last change
        assert Identifier.objects.filter(kind="one:contacts").count() == 1
        assert state() == "subscribed"

    def test_but_not_over_a_persons_own_no(self):
        run = crm("one")
        store(run, record(push=True))
        store(run, record(minutes=5, deleted=True))
        person = Profile.objects.get()
        consent.record([consent.Change(person.pk, "channel", "webpush", "unsubscribed", "sdk", at(6))])
        store(run, record(push=True), minutes=10)
        assert state() == "unsubscribed"
