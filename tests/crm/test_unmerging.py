"""What a merge moves comes back when it is undone: exactly that, and no more."""

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.models import Decision, Enrollment, Flow, Segment, SegmentMembership
from crm import combining, conflicts, consent, identity, log, merging, profiles, unmerging
from crm.identity import Reference
from crm.models import (
    Device,
    LastLocation,
    Place,
    Profile,
)
from delivery.models import Delivery, Message

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
COMBINED = {table.name for table in combining.TABLES}
OURS = ("profile_merged", "profile_unmerged")


def everything():
    """All rows that belong to people, by table; but for what tells of merging itself, and the times of changes."""
    found = {}
    for model in apps.get_models():
        table = model._meta.db_table
        names = {field.column for field in model._meta.concrete_fields}
        if table != "crm_profile" and ("profile_id" not in names or model._meta.app_label == "analytics"):
            continue
        with connection.cursor() as cursor:
            number = "id" if table in COMBINED else ""  # what comes back comes back under a new one
            cursor.execute(f"SELECT to_jsonb(t) - ARRAY['updated_at', '{number}'] FROM {table} t")
            rows = sorted(row[0] for row in cursor.fetchall())
        found[table] = [row for row in rows if not any(name in row for name in OURS)]
    return found


def person(number, data):
    """A profile with something in every table that a merge has to move."""
    reference = Reference(
        external_id=f"C{number}" if data.draw(st.booleans()) else None,
        email=f"p{number}@x.com" if data.draw(st.booleans()) else None,
        anonymous_id=f"v{number}",
    )
    [pk] = identity.resolve([reference], NOW + timedelta(minutes=data.draw(st.integers(0, 3))))
    fields = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "city": st.sampled_from(["Oslo", "Rome"]),
                "phone": st.sampled_from(["+48601234567", "+48601234568"]),
                "birthday": st.sampled_from(["1990-01-01"]),
                "latitude": st.just(1.5),
                "longitude": st.just(2.5),
                "attributes": st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, 1.5, "x", [1]])),
            },
        )
    )
    profiles.upsert([profiles.Row("id", str(pk), profiles.validate(fields))], "test", NOW)
    for place in range(data.draw(st.integers(0, 2))):
        Device.objects.create(
            profile_id=pk, endpoint=f"https://push.example/{number}/{place}", p256dh="k", auth="a"
        )
    for key in data.draw(st.sets(st.sampled_from(["webpush", "sms"]))):
        state, source = data.draw(
            st.sampled_from(
                [
                    ("subscribed", "sdk"),
                    ("unsubscribed", "person"),
                    ("subscribed", "crm"),
                    ("unsubscribed", "crm"),
                ]
            )
        )
        at = NOW + timedelta(minutes=data.draw(st.integers(0, 3)))
        consent.record([consent.Change(pk, "channel", key, state, source, at)])
    happened = [
        log.NewEvent(log.event_id(number, n), pk, "looked", NOW, {}, "sdk")
        for n in range(data.draw(st.integers(0, 2)))
    ]
    log.append(happened)
    if data.draw(st.booleans()):
        place, _ = Place.objects.get_or_create(
            slug="shop", defaults={"name": "Shop", "latitude": 1, "longitude": 2}
        )
        at = NOW + timedelta(minutes=data.draw(st.integers(0, 3)))
        LastLocation.objects.create(profile_id=pk, latitude=1, longitude=number, located_at=at, place=place)
    _campaigns(pk, number, data)
    return pk


def _campaigns(pk, number, data):
    message, _ = Message.objects.get_or_create(slug="m", defaults={"name": "M"})
    Delivery.objects.create(
        cause=f"c{number}",
        message=message,
        profile_id=pk,
        channel="webpush",
        state="sent",
        origin_type="api",
        queued_at=NOW,
        sent_at=NOW,
        due_at=NOW,
        expires_at=NOW,
    )
    flow, _ = Flow.objects.get_or_create(slug="f", defaults={"name": "F"})
    version, _ = flow.versions.get_or_create(number=1, defaults={"definition": {}, "published_at": NOW})
    run = Enrollment.objects.create(
        flow=flow,
        version=version,
        profile_id=pk,
        run_key=data.draw(st.sampled_from(["one", "two"])),
        state="completed",
        entered_at=NOW,
        ended_at=NOW,
    )
    Decision.objects.create(enrollment=run, flow=flow, profile_id=pk, kind="split", at=NOW)
    if data.draw(st.booleans()):
        segment, _ = Segment.objects.get_or_create(slug="s", defaults={"name": "S"})
        SegmentMembership.objects.create(segment=segment, profile_id=pk, entered_at=NOW)


@given(data=st.data(), number=st.integers(2, 3))
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
def test_undoing_restores_everything(data, number):
    """Merges of any people, one after the other, undone the other way round, step by step."""
    with transaction.atomic():
        people = [person(n, data) for n in range(number)]
        states = []
        pairs = [(people[0], people[1]), (people[1], people[2])] if number == 3 else [(people[0], people[1])]
        for pair in pairs:
            states.append(everything())
            merging.merge([pair], "by hand", NOW)
            assert not Profile.objects.filter(pk=pair[0]).exists()
        for (loser, winner), before in reversed(list(zip(pairs, states, strict=True))):
            undone = unmerging.undo(unmerging.last(winner).pk, LATER)
            assert undone.lost == []
            after = everything()
            assert {
                table: (rows, after[table]) for table, rows in before.items() if rows != after[table]
            } == {}
            assert conflicts.apart([loser, winner])
        transaction.set_rollback(True)
