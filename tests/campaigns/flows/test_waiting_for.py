"""Waiting for events and rules: the branch follows from when things happened, not from when somebody asks."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.flows import steps
from campaigns.flows.steps.wait_for import HAPPENED, TIMED_OUT
from campaigns.models import Enrollment
from crm import log
from crm.models import Profile
from delivery.models import Delivery
from tests.campaigns.flows.stepping import ask, held, run_of, step_of

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)
LENGTH = timedelta(hours=2)
EVENT = {"name": "purchase", "where": [{"property": "total", "op": "gte", "value": 50}]}
OTHER = {"name": "order_paid"}
SECOND = timedelta(seconds=1)


def waiting(branches=("Bought", "Did not"), **config):
    config = {"timeout": {"amount": 2, "unit": "hours"}} | (config or {"events": [EVENT, OTHER]})
    return step_of("wait_for", config, branches)


def happens(profile_id, name, at, event_id=None, **properties):
    event_id = event_id or uuid.uuid4()
    log.append([log.NewEvent(event_id, profile_id, name, at, properties, "test")])
    return event_id


EDGES = [timedelta(), LENGTH]
TIMES = st.builds(
    lambda edge, off: edge + off,
    st.sampled_from(EDGES),
    st.sampled_from([-SECOND, -timedelta(microseconds=1), timedelta(), timedelta(microseconds=1), SECOND]),
)


def test_the_branch_is_the_same_asked_early_late_or_twice(db):
    """Events stand in the log from the beginning, also those that lie ahead of who asks.

    Somebody else is asked with each, who has long been there and has a long time left.
    """
    other = Profile.objects.create().pk
    span = {"since": NOW - timedelta(days=1), "timeout": NOW + timedelta(days=9)}
    patient = run_of(other, state={name: at.isoformat() for name, at in span.items()})

    @given(
        st.lists(
            st.tuples(
                TIMES | st.just(timedelta(hours=1)), st.sampled_from(["purchase", "order_paid", "looked"])
            ),
            max_size=4,
        ),
        st.lists(st.integers(40, 60), min_size=4, max_size=4),
        st.lists(TIMES, max_size=4),
        st.sampled_from(["step", "entry"]),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=35)
    def check(events, totals, asks, since, started_by_one):
        person_id = Profile.objects.create().pk
        stored = [
            (NOW + at, name, total, happens(person_id, name, NOW + at, total=total))
            for (at, name), total in zip(events, totals, strict=False)
        ]
        start = {"id": str(stored[0][3]) if started_by_one and stored else "x"}
        start["occurred_at"] = (NOW - SECOND / 2).isoformat()
        person = run_of(person_id, context={"event": start})
        begins = NOW if since == "step" else NOW - SECOND / 2
        matching = sorted(
            (at, str(event_id), name)
            for at, name, total, event_id in stored
            if (name == "order_paid" or (name == "purchase" and total >= 50)) and str(event_id) != start["id"]
            if begins <= at < NOW + LENGTH
        )
        step = waiting(events=[EVENT, OTHER], since=since)
        # The first asking is the arrival; the last one lies after the end, so that there is a decision.
        for at in sorted({NOW, *(NOW + max(ask_, timedelta()) for ask_ in asks), NOW + LENGTH + 5 * SECOND}):
            outcome, again = (ask(step, [patient, person], at)[person_id] for _twice in range(2))
            assert again == outcome
            due = matching and matching[0][0] <= at
            if not due and at < NOW + LENGTH:
                # Who is there early looks again when it has happened: nobody wakes them once more for it.
                assert (outcome.kind, outcome.until) == ("wait", matching[0][0] if matching else NOW + LENGTH)
                person = held(person, outcome)
                continue
            assert (outcome.kind, outcome.branch) == ("go_on", HAPPENED if matching else TIMED_OUT)
            if matching:
                same_time = {event_id for when, event_id, _name in matching if when == matching[0][0]}
                assert outcome.context["awaited"]["id"] in same_time
                assert outcome.context["awaited"]["occurred_at"] == matching[0][0].isoformat()
                assert outcome.facts["event"] == outcome.context["awaited"]["name"]
            assert outcome.facts["branch_name"] == ("Bought" if matching else "Did not")
            if not person.state:
                break  # gone on at once: nobody is held who could be asked again

    check()


def test_people_in_one_batch_are_told_apart(db):
    ids = [Profile.objects.create().pk for _n in range(4)]
    happens(ids[0], "purchase", NOW + SECOND, total=60)
    happens(ids[1], "purchase", NOW + SECOND, total=40)
    happens(ids[2], "purchase", NOW - SECOND, total=60)
    step = waiting()
    people = [run_of(pk, number=-pk) for pk in ids] + [run_of(ids[0], number=7)]
    outcomes = ask(step, people, NOW)
    people = [held(person, outcomes[person.enrollment_id]) for person in people]
    outcomes = ask(step, people, NOW + LENGTH)
    branches = [outcomes[person.enrollment_id].branch for person in people]
    assert branches == [HAPPENED, TIMED_OUT, TIMED_OUT, TIMED_OUT, HAPPENED]
    assert steps.registry["wait_for"].wakes(step) == {"purchase", "order_paid"}


BOUGHT = {"kind": "event", "name": "purchase"}
FROM_POLAND = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}


def test_a_rule_is_looked_at_by_its_events_and_every_few_minutes_for_the_rest(db):
    ann = Profile.objects.create()
    kind = steps.registry["wait_for"]
    by_events, by_more = waiting(rule=BOUGHT), waiting(rule={"any": [BOUGHT, FROM_POLAND]})
    recent = waiting(rule={"not": {**BOUGHT, "within": {"last": {"days": 1}}}})
    assert all(kind.wakes(step) == {"purchase"} for step in (by_events, by_more, recent))
    looks = [ask(step, [run_of(ann.pk)], NOW)[ann.pk].until for step in (by_events, by_more)]
    assert looks == [NOW + LENGTH, NOW + timedelta(minutes=5)]
    assert ask(recent, [run_of(ann.pk)], NOW)[ann.pk].branch == HAPPENED
    person = held(run_of(ann.pk), ask(by_more, [run_of(ann.pk)], NOW)[ann.pk])
    later = ask(by_more, [person], NOW + LENGTH - SECOND)[ann.pk]
    assert later.until == NOW + LENGTH
    assert ask(by_more, [held(person, later)], NOW + LENGTH)[ann.pk].branch == TIMED_OUT
    Profile.objects.filter(pk=ann.pk).update(country="PL")
    assert ask(by_more, [person], NOW + timedelta(minutes=5))[ann.pk].branch == HAPPENED
    happens(ann.pk, "purchase", NOW + SECOND)
    assert ask(by_events, [person], NOW + timedelta(minutes=5))[ann.pk].branch == HAPPENED


@pytest.mark.parametrize("config", [{"events": [EVENT, OTHER]}, {"rule": {"any": [BOUGHT, FROM_POLAND]}}])
def test_a_hundred_people_take_as_many_queries_as_one(db, config):
    step = waiting(**config)
    ids = [profile.pk for profile in Profile.objects.bulk_create([Profile() for _n in range(100)])]
    counts = set()
    for some in (ids[:1], ids):
        with CaptureQueriesContext(connection) as captured:
            steps.registry["wait_for"].run(step, [run_of(pk) for pk in some], NOW)
        counts.add(len(captured))
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("config", "branches", "path"),
    [
        ({"events": [EVENT], "rule": BOUGHT}, 2, "rule"),
        ({"since": "entry"}, 2, "events"),
        ({"events": [{"name": ""}]}, 2, "events[0].name"),
        ({"events": [{"name": "x", "where": [{"property": "a", "op": "?"}]}]}, 2, "events[0].where[0].op"),
        ({"rule": {"any": [{"kind": "event", "name": ""}]}}, 2, "rule.any[0].name"),
        ({"rule": {"kind": "segment", "slug": "gone"}}, 2, "rule.slug"),
        ({"events": [EVENT]}, 1, ""),
        ({"events": [EVENT], "timeout": {"amount": 0}}, 2, "amount"),
    ],
)
def test_what_can_not_be_waited_for_is_told_at_its_place(db, config, branches, path):
    step = waiting(branches=["a", "b"][:branches], **config)
    assert [problem.path for problem in steps.registry["wait_for"].problems(step)] == [path]


def test_what_came_is_known_to_the_messages_after_it(world):
    ann, bob = world.person("ann"), world.person("bob")
    hello = {"kind": "message", "config": {"message": "hello", "channel": "webpush"}}
    world.flow(
        [
            {
                "key": "f",
                "kind": "wait_for",
                "config": {"events": [EVENT], "timeout": {"amount": 2, "unit": "hours"}},
                "branches": [
                    {"name": "Bought", "steps": [{"key": "thanks", **hello}]},
                    {"name": "Did not", "steps": [{"key": "remind", **hello}]},
                ],
            }
        ]
    )
    for person in (ann, bob):
        world.happens(person, "signed_up")
    world.run()
    assert set(Enrollment.objects.values_list("step", "state")) == {("f", "active")}
    world.now += timedelta(hours=1)
    world.happens(ann, "purchase", total=99)
    world.happens(bob, "purchase", total=9)
    world.run()
    [thanks] = Delivery.objects.all()
    assert (thanks.profile_id, thanks.origin_step) == (ann, "thanks")
    assert thanks.context["awaited"]["properties"] == {"total": 99}
    world.run(hours=1)
    assert Delivery.objects.get(profile_id=bob).origin_step == "remind"


def test_what_happened_while_the_worker_was_late_counts_as_well(db):
    ann = Profile.objects.create().pk
    happens(ann, "order_paid", NOW - 5 * SECOND)
    for late, kind in ((SECOND, "wait"), (9 * SECOND, "go_on")):
        assert ask(waiting(), [run_of(ann, arrived_at=NOW - late)], NOW)[ann].kind == kind


def test_the_card_says_in_words_what_the_product_itself_records():
    kind = steps.registry["wait_for"]
    own = waiting(events=[{"name": "message_opened"}, {"name": "purchase"}])
    assert kind.summary(own) == "a message opened or purchase, for 2 hours at most"
    facts = {"event": "message_clicked", "occurred_at": NOW.isoformat()}
    assert "message_clicked" not in kind.told(own, "go_on", facts)
