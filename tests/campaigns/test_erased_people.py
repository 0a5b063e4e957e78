"""Erasing somebody: nothing more is sent to them and nothing personal stays, while the counts still add up."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.db import connection

from campaigns.models import Decision, Enrollment, Flow, FlowVersion, Segment, SegmentMembership
from crm import privacy
from crm.models import Consent, Event, Profile
from delivery.models import Delivery
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
SECRET = "zyxwv"  # in everything that is personal


@pytest.fixture
def person():
    profile = world.person(1, email=f"{SECRET}@example.com")
    Profile.objects.filter(pk=profile.pk).update(first_name=SECRET, attributes={"note": SECRET})
    return profile


@pytest.fixture
def inside(person):
    """The person in the middle of a flow, in a segment, with one message sent and one waiting."""
    flow = Flow.objects.create(slug="welcome", name="Welcome")
    definition = {"trigger": {"kind": "event", "name": "signed_up"}, "steps": []}
    version = FlowVersion.objects.create(flow=flow, number=1, definition=definition, published_at=NOW)
    run = Enrollment.objects.create(
        flow=flow,
        version=version,
        profile=person,
        run_key=SECRET,
        step="s1",
        due_at=NOW,
        context={"event": SECRET},
        entered_at=NOW - timedelta(days=1),
    )
    Decision.objects.create(
        enrollment=run,
        flow=flow,
        profile=person,
        step="s1",
        kind="split:go_on",
        detail={"branch_name": "yes", "facts": SECRET},
        at=NOW,
    )
    segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
    SegmentMembership.objects.create(segment=segment, profile=person, entered_at=NOW)
    world.queue(world.message(content={"text": SECRET}), [person])
    Delivery.objects.update(state="sent", sent_at=NOW, content={"text": SECRET}, context={"cart": SECRET})
    world.queue(world.message(slug="later", content={"text": "Hi"}), [person])
    return run


def everything() -> str:
    """All rows of the product's tables as text."""
    texts = []
    with connection.cursor() as cursor:
        for model in apps.get_models():
            if model._meta.app_label in ("crm", "delivery", "campaigns", "analytics"):
                cursor.execute(f"SELECT to_jsonb(t)::text FROM {model._meta.db_table} t")
                texts += [f"{model._meta.db_table}: {row[0]}" for row in cursor.fetchall()]
    return "\n".join(texts)


def test_nothing_personal_is_left_and_nothing_more_is_sent(person, inside):
    assert SECRET in everything()
    privacy.erase([person.pk], "request", NOW)
    # What a message says to everybody is nobody's data.
    left = [line for line in everything().splitlines() if SECRET in line]
    assert [line.split(":")[0] for line in left] == ["delivery_messagecontent"]
    states = dict(Delivery.objects.values_list("message__slug", "state"))
    assert sorted(states.values()) == ["sent", "suppressed"]
    assert not Consent.objects.exists()
    assert not SegmentMembership.objects.exists()


def test_the_flow_still_adds_up_and_the_log_says_why(person, inside):
    privacy.erase([person.pk], "request", NOW)
    inside.refresh_from_db()
    assert (inside.state, inside.reason, inside.due_at, inside.context) == (
        "exited",
        "profile_erased",
        None,
        {},
    )
    assert Decision.objects.get(kind="split:go_on").detail == {"branch_name": "yes"}
    names = set(Event.objects.values_list("name", flat=True))
    assert {"flow_exited", "message_suppressed", "profile_erased"} <= names


def test_other_people_keep_everything(inside):
    other = world.person(2, email="other@example.com")
    before = everything()
    privacy.erase([other.pk], "request", NOW)
    assert {line for line in before.splitlines() if SECRET in line} == {
        line for line in everything().splitlines() if SECRET in line
    }
