"""Limits hold whatever number of dispatchers is at work, and count what went out and nothing else."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import identity, preferences, privacy, unmerging
from crm.models import Consent, Profile, Topic
from crm.preferences import Wishes
from delivery import dispatch, policies
from delivery.channels.base import Address, Outcome, Result
from delivery.channels.memory import Memory
from delivery.models import Delivery, FrequencyCap, Message, Place, SendingHours, SendingRules
from delivery.policies import Facts, places
from tests.crm.concurrently import run
from tests.delivery import world
from tests.delivery.world import NOW


def cap(number: int, period: str = "week", rules: SendingRules | None = None, **more) -> FrequencyCap:
    return FrequencyCap.objects.create(
        rules=rules or SendingRules.of_account(), number=number, period=period, **more
    )


def queue(profiles: Sequence[Profile], count: int, prefix: str = "m", **fields) -> list[Delivery]:
    found = []
    for number in range(count):
        made = world.message(f"{prefix}{number}", **{"expires_after_hours": 1000, **fields})
        found += world.queue(made, profiles)
    return found


def refreshed(delivery: Delivery) -> Delivery:
    delivery.refresh_from_db()
    return delivery


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("protected", [True, False])
def test_eight_dispatchers_at_once_keep_the_limit(memory: Memory, monkeypatch, protected: bool) -> None:
    """Without the lock they do not: each counts what the others have not committed yet."""
    cap(2)
    cap(1, channel="webpush")
    crowd = [world.person(number) for number in range(6)]
    queue(crowd, 8)
    if not protected:
        monkeypatch.setattr(places, "lock", lambda profile_ids: None)

        def slowly(taken, refused, now, write=places.write):
            write(taken, refused, now)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.05)")

        monkeypatch.setattr(places, "write", slowly)

    def work() -> None:
        while not dispatch.run(NOW, limit=4).idle:
            pass

    run(*[work] * 8)
    sent = Counter(Delivery.objects.filter(state="sent").values_list("profile_id", flat=True))
    if protected:
        assert sent == {person.pk: 2 for person in crowd}
        assert world.states() == {"sent": 12, "deferred": 36}
    else:
        assert max(sent.values()) > 2


@pytest.mark.django_db
class TestCounting:
    def test_a_rolling_limit_frees_to_the_second(self, memory: Memory) -> None:
        cap(2, "day")
        ann = world.person()
        queue([ann], 1, "first")
        dispatch.run(NOW)
        queue([ann], 1, "second")
        dispatch.run(NOW + timedelta(hours=5))
        [third] = queue([ann], 1, "third")
        dispatch.run(NOW + timedelta(hours=6))
        assert refreshed(third).due_at == NOW + timedelta(days=1)
        assert third.reason == "limit: 2 a day"
        dispatch.run(NOW + timedelta(days=1) - timedelta(seconds=1))
        assert refreshed(third).state == "deferred"
        dispatch.run(NOW + timedelta(days=1))
        assert refreshed(third).state == "sent"

    def test_the_most_urgent_gets_the_place_that_is_free_again(self, memory: Memory) -> None:
        cap(1, "day")
        ann = world.person()
        queue([ann], 1, "first")
        dispatch.run(NOW)
        [calm] = world.queue(world.message("calm", expires_after_hours=99), [ann], priority=4)
        [urgent] = world.queue(world.message("urgent", expires_after_hours=99), [ann], priority=2)
        dispatch.run(NOW + timedelta(hours=1))
        dispatch.run(NOW + timedelta(days=1))
        assert (refreshed(urgent).state, refreshed(calm).state) == ("sent", "deferred")

    def test_what_did_not_go_out_does_not_count_unless_nobody_knows(self, memory: Memory) -> None:
        cap(1)
        ann, bob = world.person(1), world.person(2)
        broken = world.message("broken", content={"text": "{{ 1 | divided_by: 0 }}"})
        world.queue(broken, [ann])
        [lost] = world.queue(world.message("lost"), [bob])
        memory.answer = lambda parcel: Result(parcel.number, Outcome.REFUSED, None, "unknown outcome")
        dispatch.run(NOW)
        memory.reset()
        assert refreshed(lost).reason == "unknown outcome"
        hers, his = queue([ann, bob], 1)
        dispatch.run(NOW + timedelta(minutes=1))
        assert (refreshed(hers).state, refreshed(his).state) == ("sent", "deferred")

    def test_the_calendar_is_that_of_the_person(self, memory: Memory) -> None:
        cap(1, "day", rolling=False)
        evening = datetime(
            2026, 3, 2, 22, 30, tzinfo=UTC
        )  # half past eleven in Warsaw, early evening in New York
        here, there = world.person(1, timezone="Europe/Warsaw"), world.person(2, timezone="America/New_York")
        queue([here, there], 1, "first")
        dispatch.run(evening)
        mine, theirs = queue([here, there], 1, "second")
        dispatch.run(evening + timedelta(minutes=10))
        assert refreshed(mine).due_at == datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
        assert refreshed(theirs).due_at == datetime(2026, 3, 3, 5, 0, tzinfo=UTC)

    def test_a_topic_and_a_message_have_limits_of_their_own(self, memory: Memory) -> None:
        topic = Topic.objects.create(slug="news", name="News")
        cap(1, "week", SendingRules.objects.create(topic=topic))
        cap(9)
        free = world.message("free", topic="news", expires_after_hours=999)
        SendingRules.objects.create(message=free, only_own_caps=True)
        ann = world.person()
        one, two = queue([ann], 2, topic="news")
        [other] = queue([ann], 1, "other")
        [spared] = world.queue(free, [ann])
        dispatch.run(NOW)
        assert [refreshed(d).state for d in (one, two, other, spared)] == ["sent", "deferred", "sent", "sent"]
        assert two.reason == "limit: 1 a week about the topic"

    def test_merged_people_share_their_limits_and_part_again(self, memory: Memory) -> None:
        cap(2)
        ann, bob = identity.resolve([identity.Reference(email=f"{n}@example.com") for n in "ab"], NOW)
        both = [Profile.objects.get(pk=pk) for pk in (ann, bob)]
        for each in both:
            world.answer(each, "subscribed", ["memory"])
        queue(both, 1, "first")
        dispatch.run(NOW)
        identity.merge([(bob, ann)], "test", NOW)
        assert set(Place.objects.values_list("profile_id", flat=True)) == {ann}
        [third] = queue([both[0]], 1, "third")
        dispatch.run(NOW + timedelta(hours=1))
        assert refreshed(third).state == "deferred"
        undone = unmerging.last(ann)
        assert undone is not None
        unmerging.undo(undone.pk, NOW + timedelta(hours=2))
        assert sorted(Place.objects.values_list("profile_id", flat=True)) == sorted([ann, bob])

    def test_nothing_is_kept_of_erased_people(self, memory: Memory) -> None:
        cap(2)
        ann, bob = world.person(1), world.person(2)
        queue([ann, bob], 1)
        dispatch.run(NOW)
        privacy.erase([ann.pk], "test")
        assert list(Place.objects.values_list("profile_id", flat=True)) == [bob.pk]

    def test_the_wish_for_one_a_week_counts_with_the_rest(self, memory: Memory) -> None:
        cap(5)
        ann = world.person()
        preferences.save(ann.pk, Wishes(frequencies={"news": "weekly"}), NOW)
        one, two = queue([ann], 2, topic="news")
        dispatch.run(NOW)
        assert (refreshed(one).state, refreshed(two).reason) == ("sent", "wants it at most once a week")

    def test_old_places_are_forgotten(self, memory: Memory) -> None:
        cap(2)
        queue([world.person()], 1)
        dispatch.run(NOW)
        assert places.forget_old(NOW + timedelta(days=34)) == 0
        assert places.forget_old(NOW + timedelta(days=36)) == 1


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow(memory: Memory) -> None:
    rules = SendingRules.of_account()
    cap(50, "day", rules)
    cap(5, "month", rules, rolling=False, counts="topic")
    SendingRules.objects.filter(pk=rules.pk).update(collision="sent", adults_only=True)
    SendingHours.objects.create(
        rules=rules, kind="quiet", start="23:00", end="05:00", days=[1, 2, 3, 4, 5, 6, 7]
    )
    Message.objects.bulk_create(
        Message(slug=f"m{n}", name="m", topic="news", content_group="g") for n in range(3)
    )
    messages = list(Message.objects.all())
    counts = []
    for start, size in ((0, 10), (1000, 500)):
        people = Profile.objects.bulk_create(
            Profile(email=f"q{start + n}@example.com", birthday="1990-01-01", timezone="Europe/Warsaw")
            for n in range(size)
        )
        batch = Delivery.objects.bulk_create(
            Delivery(
                cause=f"q:{person.pk}", message=messages[place % 3], profile=person, channel="memory",
                due_at=NOW, expires_at=NOW + timedelta(days=1), origin_type="api", queued_at=NOW,
            )
            for place, person in enumerate(people)
        )  # fmt: skip
        Consent.objects.bulk_create(
            Consent(profile=p, kind="channel", key="memory", state="subscribed", source="t", changed_at=NOW)
            for p in people
        )
        with CaptureQueriesContext(connection) as queries:
            assert policies.decide(batch, Facts({d.pk: [Address("a")] for d in batch}), NOW) == {}
        counts.append(len(queries))
    assert Place.objects.count() == 510
    assert counts[0] == counts[1] == 14
