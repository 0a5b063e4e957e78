"""Clocks that are wrong: what is done about them is noted, and nothing is stored twice because of them."""

import json
import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import ingest, log
from crm.models import Event
from tests.crm.concurrently import until_readable
from tests.crm.test_ingest import NOW, event, take

MINUTE = timedelta(minutes=1)


def send(*rows, sent_at, now=NOW):
    body = {"events": rows, "sent_at": sent_at.isoformat()}
    return ingest.ingest(json.dumps(body).encode(), "sdk", now)


@pytest.mark.django_db
class TestFlags:
    @pytest.mark.parametrize(
        ("at", "clock"),
        [(None, "missing"), (NOW + 6 * MINUTE, "ahead"), (NOW + 4 * MINUTE, ""), (NOW - 900 * MINUTE, "")],
    )
    def test_the_log_says_why_a_time_is_not_the_senders(self, at, clock):
        take(event(occurred_at=at and at.isoformat()))
        assert Event.objects.get().clock == clock

    def test_a_clock_that_is_wrong_by_a_constant_is_set_right(self):
        ahead = timedelta(days=400)
        send(event(occurred_at=(NOW + ahead - 3 * MINUTE).isoformat()), sent_at=NOW + ahead)
        behind = timedelta(hours=7)
        send(event(occurred_at=(NOW - behind - 2 * MINUTE).isoformat()), sent_at=NOW - behind)
        stored = list(Event.objects.order_by("occurred_at").values_list("occurred_at", "clock"))
        assert stored == [(NOW - 3 * MINUTE, "corrected"), (NOW - 2 * MINUTE, "corrected")]

    def test_a_clock_that_is_right_is_left_alone(self):
        send(event(occurred_at=(NOW - MINUTE).isoformat()), sent_at=NOW - 2 * MINUTE)
        assert Event.objects.values_list("occurred_at", "clock").get() == (NOW - MINUTE, "")

    @pytest.mark.parametrize("sent_at", ["2026-11-01T12:00:00", "soon", 5])
    def test_a_time_of_sending_that_is_none(self, sent_at):
        body = json.dumps({"events": [event()], "sent_at": sent_at}).encode()
        with pytest.raises(ingest.BadBatch):
            ingest.ingest(body, "sdk", NOW)

    def test_at_the_end_of_the_calendar(self):
        result = send(event(occurred_at="9999-12-31T23:59:59Z"), sent_at=NOW - timedelta(days=4000), now=NOW)
        assert result.accepted == 1
        assert Event.objects.get().clock == "ahead"

    @given(
        skews=st.lists(st.integers(-600, 600), min_size=2, max_size=4),
        at=st.integers(-2000, 60),
        timed=st.lists(st.booleans(), min_size=4, max_size=4),
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_an_event_sent_again_later_by_any_clock_is_one(self, skews, at, timed):
        """The sender repeats what it has, its clock may be set in between, and old senders tell no time of sending."""
        sent = event(id=str(uuid.uuid4()), occurred_at=(NOW + at * MINUTE).isoformat())
        accepted = 0
        for turn, skew in enumerate(skews):
            now = NOW + turn * MINUTE
            if timed[turn]:
                result = send(sent, sent_at=now + skew * MINUTE, now=now)
            else:
                result = ingest.ingest(json.dumps({"events": [sent]}).encode(), "sdk", now)
            accepted += result.accepted
        assert accepted == Event.objects.filter(pk=sent["id"]).count() == 1


@pytest.mark.django_db(transaction=True)
def test_readers_see_the_flag():
    take(event())
    until_readable()
    with log.read("clocks") as batch:
        assert [logged.clock for logged in batch.events] == ["missing"]
