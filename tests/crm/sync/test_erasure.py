"""Whoever was erased for privacy is forgotten here, and never returns."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from crm import identity, log, privacy, signals
from crm.models import (
    Consent,
    ConsentChange,
    CrmPurchase,
    Device,
    Event,
    Identifier,
    Profile,
    SourceRecord,
    SyncHint,
    SyncReject,
)
from crm.sync.engine import run
from tests.crm.sync.fake import FakeConnector, FakeCrm, connect


@pytest.fixture
def synced(crm, connection):
    crm.put("1", city="Oslo", push=True)
    run(connection)
    return connection


def person(record_id="1", slug="crm"):
    return Profile.objects.get(identifiers__kind=f"{slug}:people", identifiers__value=record_id)


def buy(profile, **properties):
    log.append([log.NewEvent(uuid.uuid4(), profile.pk, "purchase", timezone.now(), properties, "api")])


def blank(profile):
    profile.refresh_from_db()
    return not any((profile.email, profile.first_name, profile.city, profile.attributes, profile.first_seen))


class TestErasedInTheCrm:
    def test_nothing_personal_remains(self, crm, synced):
        profile = person()
        Profile.objects.filter(pk=profile.pk).update(attributes={"size": "XL"})
        Device.objects.create(profile=profile, endpoint="https://push.example/1", p256dh="k", auth="a")
        Identifier.objects.create(kind="anonymous_id", value="a1", profile=profile)
        buy(profile, value=9.5, currency="EUR", items=[{"name": "Book about her"}], note="for Ann")
        crm.delete("1", erased=True)
        report = run(synced)
        assert (report.deleted, report.state) == (1, "succeeded")
        assert blank(profile)
        for model in (Identifier, Device, Consent):
            assert not model.objects.filter(profile=profile).exists()
        events = {event.name: event.properties for event in Event.objects.filter(profile=profile)}
        assert events["purchase"] == {"value": 9.5, "currency": "EUR"}
        assert events["profile_erased"] == {"reason": "crm"}
        assert ConsentChange.objects.filter(profile=profile).exists()

    @pytest.mark.parametrize("mode", ["incremental", "full"])
    def test_it_is_final(self, crm, synced, mode):
        crm.delete("1", erased=True)
        run(synced)
        crm.now += timedelta(hours=1)
        crm.put("1", email="p1@example.com", name="Again")
        report = run(synced, mode, sweep=True)
        assert (report.created, report.updated) == (0, 0)
        assert SourceRecord.objects.get(record_id="1").state == "erased"
        assert not Profile.objects.filter(email="p1@example.com").exists()

    def test_one_that_was_never_here_stays_away_too(self, crm, synced):
        crm.delete("ghost", erased=True)
        run(synced)
        crm.put("ghost", email="ghost@example.com")
        assert run(synced).created == 0

    def test_one_that_was_deleted_first_is_forgotten_all_the_same(self, crm, synced):
        profile = person()
        crm.delete("1")
        run(synced)
        assert not blank(profile)
        crm.delete("1", erased=True)
        run(synced)
        assert blank(profile)
        assert SourceRecord.objects.get(record_id="1").state == "erased"

    def test_what_was_rejected_of_the_person_goes(self, crm, synced):
        crm.put("1", email="nonsense")
        run(synced)
        assert SyncReject.objects.exists()
        crm.delete("1", erased=True)
        run(synced)
        assert not SyncReject.objects.exists()


class TestKnownToAnotherCrm:
    @pytest.fixture
    def other(self, synced):
        """The same person in another CRM, which knows the email but not the city."""
        mine = FakeConnector.crm
        other = connect(FakeCrm(), slug="second")
        FakeConnector.crm.put("x", email="p1@example.com", name="Ann")
        run(other)
        second, FakeConnector.crm = FakeConnector.crm, mine
        if not Identifier.objects.filter(kind="second:people", value="x").exists():
            # Two CRMs with one address are two people until somebody says otherwise.
            Identifier.objects.create(kind="second:people", value="x", profile=person())
            SourceRecord.objects.update_or_create(
                connection=other,
                object="people",
                record_id="x",
                defaults={
                    "modified_at": second.now,
                    "content_hash": b"1",
                    "empty": ["city"],
                    "state": "live",
                },
            )
        return other

    def test_only_what_the_one_told_goes(self, crm, synced, other):
        profile = person()
        crm.delete("1", erased=True)
        run(synced)
        profile.refresh_from_db()
        assert (profile.email, profile.city) == ("p1@example.com", None)
        assert profile.first_name
        assert Identifier.objects.filter(kind="second:people", profile=profile).exists()
        assert SyncHint.objects.get().record_id == "x"
        assert SourceRecord.objects.get(connection=synced, record_id="1").state == "erased"


class TestErasedHere:
    def test_their_crm_record_never_returns(self, crm, synced):
        profile = person()
        privacy.erase([profile.pk], "request")
        crm.put("1", city="Bergen")
        report = run(synced, "full", sweep=True)
        assert report.created == 0
        assert blank(profile)
        assert Event.objects.get(name="profile_erased").properties == {"reason": "request"}

    def test_nor_does_one_that_was_deleted_before_its_profile_was_merged(self, crm, synced):
        left, kept = person("1"), person("2")
        crm.delete("1")
        run(synced)
        identity.merge([(left.pk, kept.pk)], "by hand")
        privacy.erase([kept.pk], "request")
        crm.put("1")
        assert run(synced, "full", sweep=True).created == 0
        assert SourceRecord.objects.get(record_id="1").state == "erased"

    def test_a_purchase_from_before_a_merge_is_stripped_too(self, synced):
        left, kept = person("1"), person("2")
        CrmPurchase.objects.create(
            connection=synced,
            object="deals",
            record_id="9",
            profile_id=left.pk,
            event_id=uuid.uuid4(),
            occurred_at=timezone.now(),
            properties={"value": 5, "name": "Ann's boat"},
        )
        identity.merge([(left.pk, kept.pk)], "by hand")
        privacy.erase([kept.pk], "request")
        assert CrmPurchase.objects.get().properties == {"value": 5}

    def test_the_layers_above_hear_of_it(self, synced):
        heard = []
        signals.profiles_erased.connect(
            receiver := lambda profile_ids, **kwargs: heard.extend(profile_ids), weak=False
        )
        try:
            privacy.erase([person().pk], "request")
        finally:
            signals.profiles_erased.disconnect(receiver)
        assert len(heard) == 1

    def test_a_stranger_is_no_error(self, db):
        privacy.erase([10**9], "request")
        assert not Event.objects.exists()
