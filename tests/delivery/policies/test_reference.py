"""The policies, a batch at a time, say what a plain reference says about one person after the other."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import preferences
from crm.models import Topic
from crm.preferences import Wishes
from delivery import outbox, policies
from delivery.channels.base import Address
from delivery.models import Delivery, FrequencyCap, Message, Place, SendingHours, SendingRules
from delivery.policies import Facts, places
from tests.delivery import world
from tests.delivery.policies import reference
from tests.delivery.policies.reference import Cap, Hours, Letter, Level, Person

pytestmark = pytest.mark.django_db
CHANNELS = ("memory", "other")
ZONES = ("Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
# Nights in which clocks are put forward and back, the end of a year, a leap day, and any day.
DAYS = (
    (2026, 3, 28),
    (2026, 10, 24),
    (2026, 11, 1),
    (2027, 3, 14),
    (2026, 12, 31),
    (2028, 2, 28),
    (2026, 6, 10),
)

clock = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30]))
channel = st.sampled_from(["", "memory"])
weekdays = st.lists(st.integers(1, 7), min_size=1, max_size=7, unique=True)
hours = st.builds(Hours, st.sampled_from(["quiet", "quiet", "window"]), clock, clock, weekdays, channel)
caps = st.builds(
    Cap,
    st.integers(1, 3),
    st.sampled_from(["hour", "day", "week", "month"]),
    st.booleans(),
    channel,
    st.sampled_from(["all", "topic"]),
    st.sampled_from([0, 0, 2]),
)
levels = st.builds(
    Level,
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, True]),
    st.sampled_from(["", "", "defer", "skip"]),
    st.sampled_from(["", "", "off", "sent"]),
    st.integers(1, 48),
    st.sampled_from([False, False, False, True]),
    st.lists(hours, max_size=2),
    st.lists(caps, max_size=2),
)
moments = st.builds(
    lambda day, minutes, seconds: datetime(*day, tzinfo=UTC) + timedelta(minutes=minutes, seconds=seconds),
    st.sampled_from(DAYS),
    st.integers(0, 2880),
    st.integers(0, 59),
)
people = st.builds(
    Person,
    st.sampled_from(ZONES),
    st.sampled_from([None, date(2008, 2, 29), date(2008, 12, 31), date(1990, 1, 1), date(2010, 2, 28)]),
    st.none() | st.tuples(clock, clock).filter(lambda pair: pair[0] != pair[1]),
    st.sampled_from([False, False, True]),
)


@st.composite
def worlds(draw):
    now = draw(moments)
    held = {"account": draw(levels)}
    for name in ("topic", "message"):
        if draw(st.booleans()):
            held[name] = draw(levels)
    crowd = []
    for _number in range(draw(st.integers(1, 3))):
        person = draw(people)
        past = [
            Letter(
                0,
                draw(st.integers(0, 1)),
                draw(st.sampled_from(CHANNELS)),
                3,
                now,
                state=draw(st.sampled_from(["sent", "sent", "delivered", "failed", "suppressed", "unknown"])),
                at=now
                - timedelta(seconds=draw(st.sampled_from([0, 59, 3599, 3600, 86400, 604800, 2592000]))),
            )
            for _ in range(draw(st.integers(0, 3)))
        ]
        present = [
            Letter(
                0,
                draw(st.integers(0, 1)),
                draw(st.sampled_from(CHANNELS)),
                draw(st.integers(1, 5)),
                now + timedelta(hours=draw(st.sampled_from([1, 12, 36]))),
                draw(st.sampled_from([False, False, True])),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        crowd.append((person, past, present))
    return now, held, crowd, draw(st.booleans()), draw(st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=worlds())
def test_a_batch_is_decided_as_one_person_after_the_other(made):
    now, held, crowd, skip_unknown, group = made
    with transaction.atomic():
        messages = _store_rules(held, skip_unknown, group)
        batch: list[Delivery] = []
        about = {}
        for number, (person, past, present) in enumerate(crowd):
            profile = world.person(number, timezone=person.zone, birthday=person.birthday, channels=CHANNELS)
            preferences.save(
                profile.pk,
                Wishes(
                    frequencies={"news": "weekly"} if person.weekly else {},
                    quiet_from=person.quiet and person.quiet[0],
                    quiet_to=person.quiet and person.quiet[1],
                ),
                now,
            )
            for letter in past:
                _store_past(letter, profile, messages)
            for place, letter in enumerate(present):
                row = _store(letter, profile, messages, now, f"new:{number}:{place}")
                about[row.pk] = (letter, person, past, present)
                batch.append(row)
        batch.sort(key=lambda row: (row.priority, row.pk))
        expected = {}
        for row in batch:
            letter, person, past, present = about[row.pk]
            others = past + [other for other in present if other is not letter]
            found = reference.verdict(letter, held, person, others, skip_unknown, group, now)
            expected[row.pk] = found
            letter.at, letter.state = (now, "sending") if found is None else (None, found[0])
        facts = Facts({row.pk: [Address("a")] for row in batch})
        verdicts = policies.decide(batch, facts, now)
        actual = {
            row.pk: (verdicts[row.pk].state.value, verdicts[row.pk].reason, verdicts[row.pk].until)
            if row.pk in verdicts
            else None
            for row in batch
        }
        assert actual == expected
        transaction.set_rollback(True)


def _store_rules(held, skip_unknown, group):
    subject = Topic.objects.create(slug="news", name="News")
    messages = [
        Message.objects.create(slug="a", name="a", topic="news", content_group="same" if group else ""),
        Message.objects.create(slug="b", name="b", topic="", content_group="same" if group else ""),
    ]
    for name, level in held.items():
        row = SendingRules.objects.create(
            topic=subject if name == "topic" else None,
            message=messages[0] if name == "message" else None,
            own_quiet=level.own_quiet,
            own_windows=level.own_windows,
            only_own_caps=level.only_own_caps,
            when_capped=level.when_capped,
            collision=level.collision,
            collision_hours=level.collision_hours,
            adults_only=level.adults_only,
            skip_unknown_age=skip_unknown,
        )
        for each in level.hours:
            SendingHours.objects.create(rules=row, **vars(each))
        for each in level.caps:
            FrequencyCap.objects.create(rules=row, **vars(each))
    return messages


def _store(letter, profile, messages, now, cause, **more):
    request = world.request(
        cause,
        messages[letter.message],
        profile,
        letter.channel,
        expires_at=letter.expires_at,
        priority=letter.priority,
        when_limited="skip" if letter.skips else "defer",
        origin_type="api",
    )
    outbox.queue([request], now)
    row = Delivery.objects.select_related("message").get(cause=cause)
    letter.number = row.pk
    return row


def _store_past(letter, profile, messages):
    letter.reason = (
        "unknown outcome" if letter.state == "unknown" else "no" if letter.state in reference.NOT_SENT else ""
    )
    letter.state = "failed" if letter.state == "unknown" else letter.state
    row = Delivery.objects.create(
        cause=f"old:{Delivery.objects.count()}",
        message=messages[letter.message],
        profile=profile,
        channel=letter.channel,
        state=letter.state,
        reason=letter.reason,
        due_at=letter.at,
        expires_at=letter.at + timedelta(days=1),
        origin_type="api",
        queued_at=letter.at,
        sent_at=letter.at if letter.state in ("sent", "delivered") else None,
    )
    places.write([places.of(row, letter.at)], [], letter.at)
    assert Place.objects.filter(pk=row.pk).exists()
