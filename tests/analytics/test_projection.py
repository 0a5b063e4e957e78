"""The log's reader: engagement, conversions and the deliveries' last state."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection

from analytics.goals import last_click
from analytics.models import Conversion, Engagement
from crm.models import Event
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    return world.person()


@pytest.fixture
def welcome():
    return world.message(goal_window_hours=24)


def credited() -> dict[uuid.UUID, int]:
    return dict(Conversion.objects.values_list("event_id", "delivery_id"))


class TestEngagement:
    def test_the_first_time_of_each_thing_counts(self, ann, welcome):
        sent = world.delivery(welcome, ann)
        for hours in (3, 1, 2):
            world.happens(ann, "message_delivered", NOW + hours * HOUR, delivery=sent.pk)
        world.engages(sent, "clicked", NOW + 4 * HOUR)
        world.read()
        row = Engagement.objects.get()
        assert (row.shown_at, row.opened_at, row.clicked_at, row.dismissed_at) == (
            NOW + HOUR,
            NOW + 4 * HOUR,
            NOW + 4 * HOUR,
            None,
        )
        sent.refresh_from_db()
        assert (sent.state, sent.delivered_at) == ("delivered", NOW + HOUR)

    def test_a_device_is_faster_than_the_worker_that_sent(self, ann, welcome):
        sent = world.delivery(welcome, ann, "sending")
        world.engages(sent, "delivered", NOW + HOUR)
        world.read()
        sent.refresh_from_db()
        assert (sent.state, sent.sent_at, sent.lease_until) == ("delivered", NOW + HOUR, None)
        assert Event.objects.filter(name="message_sent").count() == 1

    def test_reports_about_nothing_of_ours_are_skipped(self, ann, welcome):
        world.happens(ann, "message_delivered", delivery=12345)
        world.happens(ann, "message_clicked", delivery=12345)
        world.happens(ann, "message_opened")
        world.read()
        assert not Engagement.objects.exists()

    def test_small_batches_give_the_same(self, ann, welcome):
        made = [world.delivery(welcome, ann) for _ in range(5)]
        for one in made:
            world.engages(one, "delivered")
            world.engages(one, "clicked", NOW + HOUR)
        world.read(limit=2)
        assert Engagement.objects.filter(shown_at=NOW, clicked_at=NOW + HOUR).count() == 5


class TestExactlyOnce:
    def test_a_crash_in_the_middle_leaves_nothing_behind_and_loses_nothing(self, ann, welcome, monkeypatch):
        sent = world.delivery(welcome, ann)
        world.engages(sent, "clicked")
        bought = world.happens(ann, "purchase", NOW + HOUR, total=10, currency="EUR")
        credit = last_click.credit

        def crash(events):
            credit(events)
            raise RuntimeError

        monkeypatch.setattr(last_click, "credit", crash)
        with pytest.raises(RuntimeError):
            world.read()
        assert not Engagement.objects.exists()
        assert not Conversion.objects.exists()
        assert not Event.objects.filter(name="message_converted").exists()
        monkeypatch.undo()
        world.read()
        assert credited() == {bought.id: sent.pk}
        assert Event.objects.filter(name="message_converted").count() == 1

    def test_reading_everything_again_changes_nothing(self, ann, welcome):
        sent = world.delivery(welcome, ann)
        world.engages(sent, "clicked")
        world.happens(ann, "purchase", NOW + HOUR, total=10)
        world.read()
        before = (list(Engagement.objects.values()), list(Conversion.objects.values()), Event.objects.count())
        with connection.cursor() as cursor:
            cursor.execute("UPDATE crm_logcursor SET txid = 0, seq = 0")
        world.read()
        after = (list(Engagement.objects.values()), list(Conversion.objects.values()), Event.objects.count())
        assert after == before

    def test_an_id_that_comes_with_two_times_counts_once(self, ann, welcome):
        sent = world.delivery(welcome, ann)
        world.engages(sent, "clicked")
        number = uuid.uuid4()
        for hours in (1, 2):
            world.happens(ann, "purchase", NOW + hours * HOUR, number, total=10)
        world.read()
        assert Conversion.objects.get().occurred_at == NOW + HOUR


class TestAttribution:
    def test_the_last_click_before_has_the_credit(self, ann, welcome):
        first, last, after = (world.delivery(welcome, ann) for _ in range(3))
        for one, hours in ((first, 1), (last, 2), (after, 5)):
            world.engages(one, "clicked", NOW + hours * HOUR)
        bought = world.happens(ann, "purchase", NOW + 3 * HOUR, total=59.9, currency="EUR")
        world.read()
        assert credited() == {bought.id: last.pk}
        event = Event.objects.get(name="message_converted")
        assert (event.profile_id, event.occurred_at) == (ann.pk, NOW + 3 * HOUR)
        assert event.properties == {
            "message": "welcome",
            "delivery": last.pk,
            "channel": last.channel,
            "variant": last.variant,
            "origin": {"type": last.origin_type, "id": last.origin_id, "step": last.origin_step},
            "goal": "purchase",
            "value": 59.9,
            "currency": "EUR",
        }

    @pytest.mark.parametrize(
        ("after", "counts"),
        [
            (timedelta(0), True),
            (timedelta(seconds=-1), False),
            (24 * HOUR - timedelta(seconds=1), True),
            (24 * HOUR, False),
        ],
    )
    @pytest.mark.parametrize("late", [False, True])
    def test_the_window_begins_with_the_click_and_ends_before_its_length(
        self, ann, welcome, after, counts, late
    ):
        sent = world.delivery(welcome, ann)
        if late:
            world.happens(ann, "purchase", NOW + after)
            world.read()
        world.engages(sent, "clicked", NOW)
        if not late:
            world.happens(ann, "purchase", NOW + after)
        world.read()
        assert Conversion.objects.exists() == counts

    def test_other_people_and_other_goals_do_not_count(self, ann, welcome):
        world.engages(world.delivery(welcome, ann), "clicked")
        world.engages(world.delivery(world.message("other", goal_event=""), ann), "clicked", NOW + HOUR)
        world.happens(world.person(), "purchase", NOW + HOUR)
        world.happens(ann, "cart_updated", NOW + HOUR)
        world.read()
        assert not Conversion.objects.exists()

    def test_without_a_click_there_is_no_credit(self, ann, welcome):
        sent = world.delivery(welcome, ann)
        world.engages(sent, "delivered")
        world.engages(sent, "opened")
        world.happens(ann, "purchase", NOW + HOUR)
        world.read()
        assert not Conversion.objects.exists()

    def test_a_click_told_after_the_purchase_still_gets_the_credit(self, ann, welcome):
        early, late = world.delivery(welcome, ann), world.delivery(welcome, ann)
        world.engages(early, "clicked", NOW)
        bought = world.happens(ann, "purchase", NOW + 3 * HOUR)
        world.read()
        assert credited() == {bought.id: early.pk}
        world.engages(late, "clicked", NOW + HOUR)
        world.read()
        assert credited() == {bought.id: late.pk}
        assert Event.objects.filter(name="message_converted").count() == 1, "announced once"

    @pytest.mark.parametrize(
        ("properties", "value", "currency"),
        [
            ({"total": 12.5, "currency": "PLN"}, 12.5, "PLN"),
            ({"total": "12.5"}, None, ""),
            ({"total": True}, None, ""),
            ({"total": 1e300, "currency": "DOLLARS"}, None, "DOL"),
            ({"total": {"sum": 3}}, None, ""),
            ({"total": -4}, -4, ""),
            ({}, None, ""),
        ],
    )
    def test_only_numbers_are_revenue(self, ann, welcome, properties, value, currency):
        world.engages(world.delivery(welcome, ann), "clicked")
        world.happens(ann, "purchase", NOW + HOUR, **properties)
        world.read()
        made = Conversion.objects.get()
        assert (made.value, made.currency) == (value, currency)

    def test_the_amount_may_lie_deeper(self, ann):
        about = world.message(goal_value_property="order.total")
        world.engages(world.delivery(about, ann), "clicked")
        world.happens(ann, "purchase", NOW + HOUR, order={"total": 7})
        world.read()
        assert Conversion.objects.get().value == 7
