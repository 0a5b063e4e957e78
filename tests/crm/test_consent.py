"""Consent: the present answer, and the ledger behind it."""

from datetime import UTC, datetime, timedelta

import pytest

from crm import consent
from crm.models import Consent, ConsentChange, Event, Profile
from tests.crm.concurrently import run

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def answer(profile, state="subscribed", minutes=0, kind="channel", key="webpush", **more):
    at = NOW + timedelta(minutes=minutes)
    return consent.Change(profile.pk, kind, key, state, more.pop("source", "sdk"), at, **more)


@pytest.fixture
def ann(db):
    return Profile.objects.create(first_name="Ann")


@pytest.fixture
def bob(db):
    return Profile.objects.create(first_name="Bob")


class TestRecord:
    def test_an_answer_is_kept_with_its_proof(self, ann):
        assert consent.record([answer(ann, wording="May we?")]) == 1
        for row in (Consent.objects.get(), ConsentChange.objects.get()):
            assert (row.profile, row.kind, row.key, row.state) == (ann, "channel", "webpush", "subscribed")
            assert (row.source, row.wording, row.changed_at) == ("sdk", "May we?", NOW)
        event = Event.objects.get()
        assert (event.name, event.profile_id, event.occurred_at) == ("consent_changed", ann.pk, NOW)
        assert event.properties == {
            "kind": "channel",
            "key": "webpush",
            "state": "subscribed",
            "source": "sdk",
        }

    def test_the_same_answer_again_changes_nothing(self, ann):
        consent.record([answer(ann)])
        assert consent.record([answer(ann, minutes=5)]) == 0
        assert ConsentChange.objects.count() == Event.objects.count() == 1

    def test_each_change_of_mind_is_in_the_ledger(self, ann):
        for minutes, state in enumerate(["subscribed", "unsubscribed", "subscribed"]):
            assert consent.record([answer(ann, state, minutes)]) == 1
        states = ConsentChange.objects.order_by("changed_at").values_list("state", flat=True)
        assert list(states) == ["subscribed", "unsubscribed", "subscribed"]
        assert Consent.objects.get().state == "subscribed"

    def test_an_older_answer_that_comes_late_does_not_count(self, ann):
        consent.record([answer(ann, "unsubscribed", 10)])
        assert consent.record([answer(ann, "subscribed", 5)]) == 0
        assert Consent.objects.get().state == "unsubscribed"

    def test_of_two_answers_at_once_the_later_counts(self, ann):
        assert consent.record([answer(ann, "unsubscribed", 2), answer(ann, "subscribed", 1)]) == 1
        assert Consent.objects.get().state == "unsubscribed"

    def test_one_batch_for_many(self, ann, bob, django_assert_max_num_queries):
        consent.record([answer(ann, minutes=-1, key="warm")])
        with django_assert_max_num_queries(10):
            stored = consent.record(
                [answer(person, key=f"k{n}", kind="topic") for person in (ann, bob) for n in range(100)]
            )
        assert stored == 200

    def test_nothing(self, db):
        assert consent.record([]) == 0

    @pytest.mark.django_db(transaction=True)
    def test_the_same_answer_from_many_sides_is_one_entry(self):
        ann = Profile.objects.create()
        assert sum(run(*[lambda: consent.record([answer(ann)])] * 6)) == 1
        assert ConsentChange.objects.count() == 1


class TestSubscribed:
    def test_a_channel_needs_a_yes(self, ann, bob):
        nobody = Profile.objects.create()
        consent.record([answer(ann), answer(bob, "unsubscribed")])
        assert consent.subscribed([ann.pk, bob.pk, nobody.pk], "webpush") == {ann.pk}
        assert consent.subscribed([ann.pk], "email") == set()
        assert consent.subscribed([bob.pk], "webpush") == consent.subscribed([], "webpush") == set()

    def test_a_topic_only_must_not_have_a_no(self, ann, bob):
        consent.record([answer(ann), answer(bob), answer(bob, "unsubscribed", kind="topic", key="news")])
        assert consent.subscribed([ann.pk, bob.pk], "webpush", "news") == {ann.pk}
        assert consent.subscribed([ann.pk, bob.pk], "webpush", "offers") == {ann.pk, bob.pk}

    def test_a_topic_named_like_a_channel_is_another_thing(self, ann):
        consent.record([answer(ann, kind="topic", key="webpush")])
        assert consent.subscribed([ann.pk], "webpush") == set()
