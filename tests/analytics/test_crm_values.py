"""What of messages' results a CRM may have written into its records."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from analytics.models import ExchangeRate
from crm import log
from crm.sync import written_values
from delivery.models import Message
from tests.analytics import world

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
NAMES = (
    *("messages_sent", "revenue", "last_message", "last_message_at", "last_opened_at"),
    *("last_clicked", "last_clicked_at", "last_goal", "last_goal_at"),
)
RATES = {("USD", date(2026, 3, 1)): Decimal("0.5"), ("USD", date(2026, 3, 3)): Decimal("0.8")}

happened = st.tuples(
    st.sampled_from(["message_sent", "message_opened", "message_clicked", "message_converted"]),
    st.integers(0, 60).map(lambda hours: START + timedelta(hours=hours)),
    st.sampled_from(["welcome", "gone"]),
    st.sampled_from([None, 10, 2.5]),
    st.sampled_from(["EUR", "usd", "", "GBP"]),
)


class TestValues(TestCase):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.lists(happened, max_size=6, unique_by=lambda event: event[1]), min_size=1, max_size=3))
    def test_they_are_what_the_log_says(self, people):
        Message.objects.create(slug="welcome", name="Welcome!")
        ExchangeRate.objects.bulk_create(
            ExchangeRate(day=day, currency=code, rate=r) for (code, day), r in RATES.items()
        )
        profiles = [world.person() for _ in people]
        events = [
            log.NewEvent(
                log.event_id("test", profile.pk, name, at),
                profile.pk,
                name,
                at,
                {"message": message, "goal": "purchase", "value": value, "currency": currency},
                "nudge",
            )
            for profile, story in zip(profiles, people, strict=True)
            for name, at, message, value, currency in story
        ]
        log.append(events)
        with self.assertNumQueries(len(NAMES)), self.settings(NUDGE_CURRENCY="EUR"):
            found = written_values.compute(NAMES, [profile.pk for profile in profiles])
        assert found == {profile.pk: expected(story) for profile, story in zip(profiles, people, strict=True)}


def expected(story: list[tuple]) -> dict:
    def latest(name: str) -> tuple | None:
        return max((event for event in story if event[0] == name), key=lambda event: event[1], default=None)

    def at(event: tuple | None) -> str | None:
        return event and event[1].isoformat(timespec="milliseconds")

    def message(event: tuple | None) -> str | None:
        return event and {"welcome": "Welcome!"}.get(event[2], event[2])

    sent = [event for event in story if event[0] == "message_sent"]
    opened, clicked, converted = (latest(f"message_{name}") for name in ("opened", "clicked", "converted"))
    amounts = [worth(event) for event in story if event[0] == "message_converted"]
    known = [amount for amount in amounts if amount is not None]
    return {
        "messages_sent": len(sent) or None,
        "revenue": float(round(sum(known), 2)) if known else None,
        "last_message": message(latest("message_sent")),
        "last_message_at": at(latest("message_sent")),
        "last_opened_at": at(opened),
        "last_clicked": message(clicked),
        "last_clicked_at": at(clicked),
        "last_goal": "purchase" if converted else None,
        "last_goal_at": at(converted),
    }


def worth(event: tuple) -> Decimal | None:
    _name, at, _message, value, currency = event
    if value is None:
        return None
    if currency in ("", "EUR"):
        return Decimal(str(value))
    days = [day for code, day in RATES if code == currency.upper() and day <= at.date()]
    return Decimal(str(value)) * RATES[currency.upper(), max(days)] if days else None


@pytest.mark.django_db
def test_a_mapping_may_name_them_and_their_events_make_a_record_due():
    names = {value.name for value in written_values.offered()}
    assert set(NAMES) <= names
    assert written_values.event_names(NAMES) == {
        *("message_sent", "message_opened", "message_clicked", "message_converted"),
    }
    assert not written_values.needs_profile(NAMES)
