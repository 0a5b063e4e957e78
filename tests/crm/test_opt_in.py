"""Double opt-in: a yes that waits for its confirmation is none yet."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import consent, identity, opt_in
from crm.models import ChannelTerms, Consent, ConsentChange, Event, Topic

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
EMAIL, NEWS = ("channel", "email"), ("topic", "news")

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann():
    ChannelTerms.objects.create(channel="email", double_opt_in=True)
    Topic.objects.create(slug="news", name="News", double_opt_in=True, legal_basis="contract")
    return identity.resolve([identity.Reference(email="ann@example.com")], NOW)[0]


def say(profile_id, *questions, state="subscribed", at=NOW, **more):
    changes = [
        consent.Change(profile_id, *question, state, "sdk", at, "May we?", legal_basis="")
        for question in questions
    ]
    return opt_in.answer(changes, now=at, **more)


def requests():
    return list(Event.objects.filter(name="consent_requested").order_by("occurred_at"))


def days(number):
    return NOW + timedelta(days=number)


def test_a_yes_waits_and_asks_once_for_everything(ann):
    assert say(ann, EMAIL, NEWS, ("channel", "webpush")) == ["pending", "pending", "subscribed"]
    assert consent.subscribed([ann], "email") == set()
    assert consent.subscribed([ann], "webpush", "news") == set()
    [event] = requests()
    assert (event.profile_id, event.properties["questions"]) == (ann, ["channel:email", "topic:news"])
    assert {row.key: row.legal_basis for row in Consent.objects.all()}["news"] == "contract"


def test_confirming_keeps_the_words_that_were_agreed_to(ann):
    say(ann, EMAIL, NEWS)
    assert opt_in.confirm(ann, [EMAIL], delivery=7, now=days(1)) == [EMAIL]
    assert consent.subscribed([ann], "email") == {ann}
    entry = ConsentChange.objects.get(source="double_opt_in")
    assert (entry.wording, entry.changed_at) == ("May we?", days(1))
    assert opt_in.was_about(entry, "ann@example.com")
    changed = Event.objects.filter(name="consent_changed", properties__state="subscribed").get()
    assert changed.properties["delivery"] == 7
    assert opt_in.confirm(ann, [EMAIL], now=days(1)) == []


def test_a_request_ends(ann):
    say(ann, EMAIL)
    assert opt_in.confirm(ann, now=days(7)) == []
    assert opt_in.awaited([ann], "email", days(6)) == {ann}
    assert opt_in.awaited([ann], "email", days(7)) == set()


def test_a_no_in_between_cannot_be_confirmed_away(ann):
    say(ann, EMAIL)
    say(ann, EMAIL, state="unsubscribed", at=days(1))
    assert opt_in.confirm(ann, now=days(2)) == []
    assert opt_in.awaited([ann], "email", days(2)) == set()


def test_nobody_is_asked_again_and_again(ann):
    for hours in range(0, 24 * 20, 6):
        assert say(ann, EMAIL, at=NOW + timedelta(hours=hours)) == ["pending"]
    gaps = [
        later.occurred_at - first.occurred_at
        for first, later in zip(requests(), requests()[1:], strict=False)
    ]
    assert len(gaps) == 2
    assert min(gaps) >= timedelta(days=1)
    say(ann, EMAIL, at=days(32))
    assert len(requests()) == 4


def test_nobody_is_flooded_with_questions_about_ever_other_things(ann):
    for number in range(14):
        Topic.objects.create(slug=f"t{number}", name=f"T{number}", double_opt_in=True)
        assert say(ann, ("topic", f"t{number}"), at=NOW + timedelta(minutes=number)) == ["pending"]
    assert len(requests()) == 10


def test_who_has_confirmed_is_not_asked_again(ann):
    say(ann, EMAIL)
    opt_in.confirm(ann, now=days(1))
    assert say(ann, EMAIL, at=days(2)) == ["subscribed"]
    assert say(ann, NEWS, at=days(2), confirmed=True) == ["subscribed"]
    assert len(requests()) == 1


def test_a_yes_from_before_the_no_asks_nothing(ann):
    say(ann, EMAIL, state="unsubscribed")
    say(ann, EMAIL, at=days(-1))
    assert requests() == []
    assert Consent.objects.get().state == "unsubscribed"


def test_a_topic_may_need_a_yes(ann):
    Topic.objects.create(slug="deals", name="Deals", needs_yes=True)
    say(ann, ("channel", "webpush"))
    assert consent.subscribed([ann], "webpush", "deals") == set()
    assert consent.subscribed([ann], "webpush", "other") == {ann}
    say(ann, ("topic", "deals"))
    assert consent.subscribed([ann], "webpush", "deals") == {ann}


def test_the_number_of_queries_does_not_grow(ann):
    people = identity.resolve([identity.Reference(email=f"p{n}@example.com") for n in range(60)], NOW)
    counts = []
    for group in (people[:1], people[1:5], people[5:]):
        changes = [consent.Change(person, *EMAIL, "subscribed", "sdk", NOW) for person in group]
        with CaptureQueriesContext(connection) as queries:
            assert opt_in.answer(changes, now=NOW) == ["pending"] * len(group)
        counts.append(len(queries))
    assert counts[1] == counts[2] <= 30
    assert len(requests()) == 60
