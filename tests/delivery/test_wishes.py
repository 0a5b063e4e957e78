"""People's own wishes at the moment of sending: how often, when not, only what matters, and confirmations."""

from datetime import time, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import consent, identity, opt_in, preferences
from crm.models import ChannelTerms, Suppression, Topic
from crm.preferences import Wishes
from delivery import dispatch, slots
from delivery.channels.memory import Memory
from delivery.models import Delivery, Slot
from tests.crm.concurrently import run
from tests.delivery import world

NOW = world.NOW  # a Monday, 09:00 UTC
WEEK = timedelta(days=7)


def wish(profile, **wishes):
    preferences.save(profile.pk, Wishes(**wishes), NOW)


def reasons(slug):
    return dict(Delivery.objects.filter(message__slug=slug).values_list("profile_id", "reason"))


def state(delivery):
    delivery.refresh_from_db()
    return delivery.state, delivery.reason


@pytest.mark.django_db
class TestOften:
    def test_at_most_one_a_week_about_the_topic(self, memory: Memory):
        ann, bob = world.person(1), world.person(2)
        wish(ann, frequencies={"news": "weekly"})
        news, deals = world.message("news", topic="news"), world.message("deals", topic="deals")
        [first, _] = world.queue(news, [ann, bob])
        dispatch.run(NOW)
        second = world.message("news-2", topic="news", expires_after_hours=300)
        short = world.message("news-3", topic="news")
        [later, _] = world.queue(second, [ann, bob])
        [dropped] = world.queue(short, [ann])
        [other] = world.queue(deals, [ann])
        dispatch.run(NOW + timedelta(hours=1))
        assert [state(d)[0] for d in (first, later, dropped, other)] == [
            "sent",
            "deferred",
            "suppressed",
            "sent",
        ]
        assert (later.due_at, later.reason) == (NOW + WEEK, "wants it at most once a week")
        dispatch.run(NOW + WEEK)
        assert state(later)[0] == "sent"
        assert world.states() == {"sent": 5, "suppressed": 1}

    def test_a_message_that_failed_leaves_its_place(self, memory: Memory):
        ann = world.person()
        wish(ann, frequencies={"news": "weekly"})
        broken = world.message("broken", topic="news", content={"text": "{{ 1 | divided_by: 0 }}"})
        world.queue(broken, [ann])
        dispatch.run(NOW)
        [good] = world.queue(world.message("good", topic="news"), [ann])
        dispatch.run(NOW + timedelta(hours=1))
        assert state(good)[0] == "sent"

    def test_of_two_in_one_batch_one_goes_out(self, memory: Memory):
        ann = world.person()
        wish(ann, frequencies={"news": "weekly"})
        for slug in ("one", "two"):
            world.queue(world.message(slug, topic="news"), [ann])
        dispatch.run(NOW)
        assert world.states() == {"sent": 1, "suppressed": 1}

    def test_only_what_is_important(self, memory: Memory):
        ann = world.person()
        wish(ann, frequencies={"news": "important"})
        [plain] = world.queue(world.message("plain", topic="news"), [ann])
        [urgent] = world.queue(world.message("urgent", topic="news", important=True), [ann])
        dispatch.run(NOW)
        assert state(plain) == ("suppressed", "wants only what is important")
        assert state(urgent)[0] == "sent"


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_at_once_send_one_a_week(memory: Memory):
    """Each message is claimed in a transaction of its own, none of which sees the others' deliveries."""
    people = [world.person(number) for number in range(4)]
    for person in people:
        wish(person, frequencies={"news": "weekly"})
    for number in range(6):
        world.queue(world.message(f"m{number}", topic="news"), people)

    def work():
        while not dispatch.run(NOW, limit=3).idle:
            pass

    run(*[work] * 4)
    sent = Delivery.objects.filter(state="sent").values_list("profile_id", flat=True)
    assert sorted(sent) == sorted(person.pk for person in people)
    assert world.states()["suppressed"] == 20


@pytest.mark.django_db
class TestQuiet:
    def test_it_waits_for_the_end_of_the_night_where_the_person_is(self, memory: Memory):
        here = world.person(1, timezone="Europe/London")
        far = world.person(2, timezone="America/New_York")
        odd = world.person(3, timezone="Nowhere/Nothing")
        for person in (here, far, odd):
            wish(person, quiet_from=time(22), quiet_to=time(7))
        message = world.message()
        [one, two, three] = world.queue(message, [here, far, odd])
        dispatch.run(NOW)
        assert [state(d)[0] for d in (one, two, three)] == ["sent", "deferred", "sent"]
        assert (two.reason, two.due_at) == ("quiet hours of the person", NOW + timedelta(hours=3))
        dispatch.run(NOW + timedelta(hours=3))
        assert state(two)[0] == "sent"

    def test_the_number_of_queries_does_not_grow(self, memory: Memory):
        message = world.message(topic="news")
        counts = []
        for start, size in ((0, 1), (10, 4), (20, 8)):  # 8 are begun at once
            people = [world.person(start + number) for number in range(size)]
            for person in people:
                wish(person, frequencies={"news": "weekly"}, quiet_from=time(1), quiet_to=time(2))
            world.queue(message, people)
            with CaptureQueriesContext(connection) as queries:
                assert dispatch.run(NOW).sent == size
            counts.append(len(queries))
        assert counts[1] == counts[2]


@pytest.mark.django_db
class TestConfirmations:
    def test_only_those_whose_yes_waits_are_asked_and_once(self, memory: Memory):
        ChannelTerms.objects.create(channel="memory", double_opt_in=True)
        ann, bob, eve = (world.person(number, agrees=False) for number in range(3))
        world.answer(bob, "subscribed", ["memory"])
        asked = consent.Change(ann.pk, "channel", "memory", "subscribed", "sdk", NOW)
        assert opt_in.answer([asked], now=NOW) == ["pending"]
        ask = world.message("ask", confirms=True, content={"text": "{{ confirm_url }}"})
        world.queue(ask, [ann, bob, eve])
        world.queue(world.message("plain"), [ann])
        dispatch.run(NOW)
        assert reasons("ask") == {ann.pk: "", bob.pk: "nothing to confirm", eve.pk: "nothing to confirm"}
        assert reasons("plain") == {ann.pk: "no consent"}
        [sent] = Delivery.objects.filter(state="sent")
        assert sent.profile == ann
        assert "/confirm/" in sent.content["text"]
        world.queue(world.message("ask-2", confirms=True), [ann])
        dispatch.run(NOW + timedelta(hours=2))
        assert Delivery.objects.get(message__slug="ask-2").reason == "asked already"

    def test_a_topic_that_needs_a_yes_gets_none_by_default(self, memory: Memory):
        Topic.objects.create(slug="deals", name="Deals", needs_yes=True)
        [delivery] = world.queue(world.message(topic="deals"), [world.person()])
        dispatch.run(NOW)
        assert state(delivery) == ("suppressed", "no consent")


@pytest.mark.django_db
def test_an_address_suppressed_for_all_channels_gets_nothing(memory: Memory):
    ann, bob = world.person(1), world.person(2)
    address = memory.addresses([ann.pk])[ann.pk][0].value
    Suppression.objects.create(channel="all", address=address, reason="complaint")
    [hers, his] = world.queue(world.message(), [ann, bob])
    dispatch.run(NOW)
    assert (state(hers), state(his)[0]) == (("suppressed", "address suppressed"), "sent")


@pytest.mark.django_db
def test_a_merge_takes_the_later_place_along():
    ann, bob = identity.resolve([identity.Reference(email=f"{n}@example.com") for n in "ab"], NOW)
    period = timedelta(seconds=9)
    slots.take([slots.Wanted(1, ann, "topic:news"), slots.Wanted(2, bob, "topic:news")], period, NOW)
    slots.take([slots.Wanted(3, bob, "topic:deals")], period, NOW)
    slots.take([slots.Wanted(4, bob, "topic:news")], period, NOW + timedelta(seconds=20))
    identity.merge([(bob, ann)], "test", NOW)
    held = set(Slot.objects.values_list("profile_id", "key", "delivery_id"))
    assert held == {(ann, "topic:news", 4), (ann, "topic:deals", 3)}
