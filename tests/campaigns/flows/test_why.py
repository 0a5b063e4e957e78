"""Why somebody is, was or is not in a flow."""

from datetime import timedelta

import msgspec
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.flows import ending, enrolling, publish, why
from crm import masking
from crm.models import Profile
from delivery.models import Delivery

WAIT = {"key": "w1", "kind": "wait", "config": {"amount": 2, "unit": "days"}}
HELLO = {"key": "m1", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}
ASK = {
    "key": "q1",
    "kind": "split",
    "config": {"name": "Polish?"},
    "branches": [
        {"name": "Yes", "rule": {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}, "steps": []},
        {"name": "No", "steps": [WAIT]},
    ],
}  # fmt: skip


def texts(run: why.RunTold) -> list[str]:
    return [each.text for each in run.story]


def check(found: why.Why, about: str) -> why.Check:
    return next(each for each in found.checks if each.about == about)


def test_a_run_is_told_with_its_steps_messages_and_what_comes_next(world):
    flow = world.flow([HELLO, ASK], exit_on=[{"name": "order_paid"}])
    ann = world.person("ann")
    Profile.objects.filter(pk=ann).update(timezone="Asia/Tokyo")
    world.happens(ann, "signed_up")
    world.run()
    found = why.explain(ann, flow.pk, world.now)
    [run] = found.runs
    assert (found.inside, found.entered, found.zone) == (True, True, "Asia/Tokyo")
    assert "10:00" in found.summary, "told by the account's clock"
    story = " ".join(texts(run))
    assert "They entered by “signed_up”." in story
    assert "They take the branch “No”." in story
    message = next(each for each in run.story if each.kind == "message:go_on")
    assert (message.sent[0].state, message.sent[0].message) == ("queued", "Hello")
    assert run.next.at == world.now + timedelta(days=2)
    assert run.next.their_time.endswith("19:00")
    assert run.next.account_time.endswith("10:00")
    assert "order_paid" in run.watched[0].text
    assert not run.watched[0].holds
    assert msgspec.json.decode(msgspec.json.encode(found))["flow"] == "welcome"


def test_what_became_of_a_message_says_why(world):
    flow = world.flow([HELLO, WAIT])
    ann = world.person("ann")
    world.happens(ann, "signed_up")
    world.run()
    Delivery.objects.update(state="suppressed", reason="exit: order_paid")
    [run] = why.explain(ann, flow.pk, world.now).runs
    [sent] = [sent for each in run.story for sent in each.sent]
    assert "order_paid" in sent.why


def test_somebody_outside_learns_what_kept_them_out(world):
    rule = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
    flow = world.flow([HELLO], entry=rule)
    ann, bob = world.person("ann"), world.person("bob")
    world.happens(ann, "signed_up")
    world.run()
    found = why.explain(ann, flow.pk, world.now)
    assert not found.entered
    assert check(found, "Trigger").holds
    entry = check(found, "Entry rule")
    assert entry.holds is False
    assert entry.facts[0].text
    assert "did not meet the entry rule" in found.refused[0].text
    assert check(why.explain(bob, flow.pk, world.now), "Trigger").holds is False


def test_events_that_do_not_fit_or_came_too_early_are_named(world):
    where = [{"property": "total", "op": "gte", "value": 50}]
    flow = world.flow([HELLO], trigger={"kind": "event", "name": "order_paid", "where": where})
    ann = world.person("ann")
    world.happens(ann, "order_paid", total=10)
    found = check(why.explain(ann, flow.pk, world.now), "Trigger")
    assert found.holds is False
    assert "does not fit" in found.facts[0].text
    flow.listening_since = world.now + timedelta(hours=1)
    flow.save(update_fields=["listening_since"])
    world.happens(ann, "order_paid", total=90)
    assert "before the flow listened" in check(why.explain(ann, flow.pk, world.now), "Trigger").text


def test_states_dates_and_entering_again(world):
    flow = world.flow([HELLO], starts_at="2030-01-01T00:00:00+00:00")
    ann = world.person("ann")
    assert check(why.explain(ann, flow.pk, world.now), "First day").holds is False
    publish.pause(flow.pk)
    assert check(why.explain(ann, flow.pk, world.now), "State").holds is False
    other = world.flow([HELLO], slug="other")
    world.happens(ann, "signed_up")
    world.run()
    found = why.explain(ann, other.pk, world.now)
    assert not found.inside
    assert check(found, "Entering again").holds is False


def test_how_a_run_ended_is_told(world):
    flow = world.flow([WAIT])
    ann = world.person("ann")
    world.happens(ann, "signed_up")
    world.run()
    [run] = why.explain(ann, flow.pk, world.now).runs
    ending.end_run(run.id, "test", "asked on the phone", world.now)
    [run] = why.explain(ann, flow.pk, world.now).runs
    assert "by hand" in run.ended
    assert "asked on the phone" in run.story[-1].text
    assert run.next is None


def test_readers_without_contact_data_get_no_answer_that_tells_some(world):
    rule = {"kind": "attribute", "field": "email", "op": "eq", "value": "ann@example.com"}
    flow = world.flow([HELLO], entry=rule)
    ann = world.person("ann")
    with masking.hiding():
        found = check(why.explain(ann, flow.pk, world.now), "Entry rule")
    assert found.holds is None
    assert not found.facts
    assert "ann@example.com" not in str(found)


def test_the_number_of_queries_does_not_grow_with_the_story(world):
    flow = world.flow([HELLO, WAIT], reentry={"mode": "always"})
    ann = world.person("ann")
    numbers = []
    for _index in range(2):
        world.happens(ann, "signed_up")
        world.run(days=3)
        world.run(days=3)
        with CaptureQueriesContext(connection) as queries:
            why.explain(ann, flow.pk, world.now)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1] < 20


def test_who_was_enrolled_is_told_by_whom(world):
    flow = world.flow([WAIT])
    for name, by in (("ann", "ada"), ("bob", "flow:other"), ("eve", "key:shop")):
        person = world.person(name)
        enrolling.enroll(flow.pk, {person}, by=by, now=world.now)
        [run] = why.explain(person, flow.pk, world.now).runs
        assert by.rpartition(":")[2] in run.story[0].text
        assert "enrolled by" in run.story[0].text
