"""Messages by one channel, by the one that suits, and by one after the other, through the real outbox."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from analytics import tracking
from analytics.reports.timeline_reasons import Reasons
from campaigns.flows import choosing, engine, steps
from campaigns.models import Decision, Enrollment
from crm import consent, preferences
from crm.models import Event, Identifier, Profile
from delivery import channels, dispatch, tokens
from delivery.channels.base import Outcome, Result
from delivery.models import Delivery, Message, MessageContent
from delivery.policies import guards
from tests.campaigns.flows.stepping import ask, held, run_of, step_of
from tests.delivery.world import NOW, answer, person

State = Delivery.State
FOUR_HOURS = timedelta(hours=4)
BOTH = [{"channel": "memory", "wait": {"hours": 4}, "unless": "opened"}, {"channel": "inapp"}]


@pytest.fixture
def memory():
    channel = channels.get("memory")
    channel.reset()
    yield channel
    channel.reset()


@pytest.fixture
def hello(db, monkeypatch):
    monkeypatch.setattr(guards, "_guards", [])  # the runs of these tests are nobody's
    made = Message.objects.create(slug="hello", name="Hello", expires_after_hours=24)
    for channel, content in (
        ("memory", {"text": "Hi"}),
        ("inapp", {"title": "Hi"}),
        ("webpush", {"title": "Hi"}),
    ):
        MessageContent.objects.create(message=made, channel=channel, content=content)
    return made


def visitor(number=1, **parts):
    """Somebody with an address for the remembering channel and an inbox on the site."""
    made = person(number, **parts)
    Identifier.objects.create(kind=Identifier.ANONYMOUS_ID, value=f"a{number}", profile=made)
    return made


def message_step(**config):
    return step_of("message", {"message": "hello", **config}, key="m")


def sent():
    return list(Delivery.objects.order_by("queued_at", "pk").values_list("channel", "state"))


class Chain:
    """One person held by a chain."""

    def __init__(self, profile, now=NOW, **config):
        self.step, self.now = message_step(**({"chain": BOTH} | config)), now
        self.run, self.outcome = run_of(profile.pk, number=77), None

    def asked(self, **later):
        """Ask after some time, twice, as a worker does that died before it had stored the answer."""
        self.now += timedelta(**later)
        self.outcome, _again = (ask(self.step, [self.run], self.now)[77] for _twice in range(2))
        if self.outcome.kind == "wait":
            self.run = held(self.run, self.outcome)
        return self.outcome.kind, self.outcome.facts.get("because", self.outcome.facts.get("channel"))

    def sends(self):
        dispatch.run(self.now)

    def reported(self, kind, channel="memory"):
        tracking.record(tokens.make(Delivery.objects.get(channel=channel).pk), kind, self.now, self.now)


def test_the_next_channel_has_its_turn_when_the_first_was_not_opened(hello, memory):
    chain = Chain(visitor())
    chain.asked()
    chain.sends()
    assert chain.asked(minutes=1) == ("wait", None)
    assert chain.outcome.until == NOW + FOUR_HOURS
    assert chain.asked(hours=3, minutes=58) == ("wait", None)
    assert chain.asked(minutes=1) == ("go_on", "inapp")
    assert chain.outcome.facts["tried"] == [{"channel": "memory", "state": "sent"}]
    assert sent() == [("memory", "sent"), ("inapp", "queued")]
    assert set(Delivery.objects.values_list("cause", flat=True)) == {"flow:77:m", "flow:77:m:inapp"}


@pytest.mark.parametrize("reported", ["shown", "clicked"])
def test_an_opened_message_ends_the_chain(hello, memory, reported):
    chain = Chain(visitor())
    chain.asked()
    chain.sends()
    chain.now += timedelta(hours=1)
    chain.reported(reported)
    expected = (
        ("go_on", "opened") if reported == "clicked" else ("wait", None)
    )  # what was shown was not yet opened
    assert chain.asked() == expected
    assert sent()[0][0] == "memory"
    assert len(sent()) == 1
    assert chain.asked(days=2)[0] == "go_on"
    assert len(sent()) == (1 if reported == "clicked" else 2)


def test_an_opening_after_the_time_counts_no_more_whenever_it_is_asked(hello, memory):
    chain = Chain(visitor())
    chain.asked()
    chain.sends()
    chain.now += FOUR_HOURS
    chain.reported("clicked")
    assert chain.asked() == ("go_on", "inapp")


def test_what_can_not_be_sent_makes_room_at_once(hello, memory):
    unwilling = visitor(1, agrees=False)
    chain = Chain(unwilling)
    chain.asked()
    chain.sends()
    assert chain.asked(seconds=1) == ("go_on", "inapp")
    assert chain.outcome.facts["tried"] == [
        {"channel": "memory", "state": "suppressed", "reason": "no consent"}
    ]
    Delivery.objects.all().delete()
    memory.answer = lambda parcel: Result(parcel.number, Outcome.REFUSED, 400, "no such inbox")
    chain = Chain(visitor(2))
    chain.asked()
    chain.sends()
    assert chain.asked(seconds=1) == ("go_on", "inapp")
    assert sent() == [("memory", "failed"), ("inapp", "queued")]


def test_the_time_to_open_runs_from_when_it_was_sent(hello, memory):
    ann = visitor()
    preferences.save(
        ann.pk, preferences.Wishes(quiet_from=NOW.time(), quiet_to=(NOW + 2 * FOUR_HOURS).time()), NOW
    )
    chain = Chain(ann)
    chain.asked()
    chain.sends()
    assert sent() == [("memory", "deferred")]
    assert chain.asked(hours=5) == ("wait", None)
    chain.now = NOW + 2 * FOUR_HOURS
    chain.sends()
    assert chain.asked() == ("wait", None)
    assert chain.outcome.until == NOW + 3 * FOUR_HOURS


def test_what_must_be_sent_in_time_is_not_sent_later(hello, memory):
    ann = visitor()
    preferences.save(
        ann.pk, preferences.Wishes(quiet_from=NOW.time(), quiet_to=(NOW + 2 * FOUR_HOURS).time()), NOW
    )
    first = {"channel": "memory", "wait": {"hours": 4}, "unless": "sent"}
    chain = Chain(ann, chain=[first, {"channel": "inapp"}])
    chain.asked()
    chain.sends()
    chain.now += FOUR_HOURS
    chain.sends()
    assert chain.asked() == ("go_on", "inapp")
    assert sent() == [("memory", "expired"), ("inapp", "queued")]
    quick = Chain(visitor(2), now=NOW, chain=[first, {"channel": "inapp"}])
    Delivery.objects.all().delete()
    quick.asked()
    quick.sends()
    assert quick.asked() == ("go_on", "sent")
    assert sent() == [("memory", "sent")]


def test_who_is_moved_to_other_settings_gets_nothing_twice(hello, memory):
    ann = visitor()
    chain = Chain(ann)
    chain.asked()
    chain.sends()
    ask(message_step(channel="memory"), [run_of(ann.pk, number=77)], NOW)
    assert len(sent()) == 1
    chain.run = run_of(ann.pk, number=77)  # begins anew
    assert chain.asked() == ("wait", None)
    Delivery.objects.all().delete()
    chain.run = run_of(ann.pk, number=77, state={"queued": 1, "until": NOW.isoformat()})
    assert chain.asked() == ("go_on", "gone")


def test_each_gets_the_channel_that_suits_them(hello):
    wishes, engages, reached, last, nobody = (
        *(visitor(number) for number in (1, 2, 3)),
        person(4),
        Profile.objects.create(),
    )
    for each in (wishes, engages):
        preferences.save(each.pk, preferences.Wishes(channel="memory" if each is wishes else "webpush"), NOW)
    step = message_step(channels="preferred")
    for number, (each, channel) in enumerate(
        [(engages, "memory")] * 2 + [(engages, "inapp"), (wishes, "inapp")]
    ):
        ask(message_step(channel=channel), [run_of(each.pk, number=900 + number)], NOW - FOUR_HOURS)
        token = tokens.make(Delivery.objects.get(cause=f"flow:{900 + number}:m").pk)
        tracking.record(token, "clicked", NOW - timedelta(hours=1), NOW - timedelta(hours=1))
    everybody = [run_of(each.pk) for each in (wishes, engages, reached, last, nobody)]
    found = ask(step, everybody, NOW)
    told = [
        (found[run.profile_id].facts["channel"], found[run.profile_id].facts["because"]) for run in everybody
    ]
    assert told == [
        ("memory", choosing.WISH),
        ("memory", choosing.ENGAGEMENT),
        ("inapp", choosing.REACHABLE),
        ("memory", choosing.REACHABLE),
        ("webpush", choosing.NOBODY),
    ]
    queued = dict(Delivery.objects.filter(queued_at=NOW).values_list("profile_id", "channel"))
    assert [queued[run.profile_id] for run in everybody] == [channel for channel, _why in told]
    answer(reached, consent.UNSUBSCRIBED, ["inapp"], at=NOW)
    assert ask(step, everybody, NOW, rehearse=True)[reached.pk].facts["channel"] == "memory"
    assert ask(step, everybody, NOW)[reached.pk].kind == "go_on"
    assert (
        Delivery.objects.filter(profile=reached).count() == 1
    )  # asked again, it stays with its first choice


@pytest.mark.parametrize("config", [{"channel": "memory"}, {"channels": "preferred"}, {"chain": BOTH}])
def test_twenty_people_take_as_many_queries_as_one(hello, config):
    step, kind = message_step(**config), steps.registry["message"]
    profiles = [visitor(number) for number in range(20)]
    ask(step, [run_of(profiles[0].pk, number=1)], NOW)  # what is read once and kept is read
    counts = set()
    for number, some in enumerate((profiles[:1], profiles)):
        runs = [run_of(each.pk, number=1000 * number + place + 2) for place, each in enumerate(some)]
        for turn, does in enumerate((kind.rehearse, kind.run, kind.run)):
            with CaptureQueriesContext(connection) as captured:
                does(step, runs, NOW)
            counts.add((turn, len(captured)))
    assert len(counts) == 3
    assert Delivery.objects.count() == 22


def test_a_rehearsed_chain_skips_who_can_not_be_reached_and_sends_nothing(hello):
    reached, unwilling = visitor(1), visitor(2, agrees=False)
    step, now = message_step(chain=BOTH), NOW
    runs = [run_of(reached.pk, number=-1), run_of(unwilling.pk, number=-2)]
    found = ask(step, runs, now, rehearse=True)
    assert [found[run.enrollment_id].facts["channel"] for run in runs] == ["memory", "memory"]
    assert [found[run.enrollment_id].until for run in runs] == [now + FOUR_HOURS, now + timedelta(seconds=1)]
    for run in runs:
        run = held(run, found[run.enrollment_id])
        last = ask(step, [run], found[run.enrollment_id].until, rehearse=True)[run.enrollment_id]
        assert (last.kind, last.facts["channel"]) == ("go_on", "inapp")
    assert not Delivery.objects.exists()


LINK = {"channel": "memory", "wait": {"hours": 4}}


@pytest.mark.parametrize(
    ("config", "paths"),
    [
        ({"channel": "sms"}, ["channel"]),
        ({"message": "gone"}, ["message"]),
        ({"message": "empty", "channels": "preferred"}, ["message"]),
        ({"chain": [LINK]}, ["chain"]),
        ({"chain": [{"channel": "memory"}, {"channel": "inapp"}]}, ["chain[0].wait"]),
        (
            {"chain": [{**LINK, "wait": {"days": 99}}, {"channel": "memory"}]},
            ["chain[0].wait", "chain[1].channel"],
        ),
        ({"chain": [LINK, {"channel": "sms"}]}, ["chain[1].channel"]),
        ({"chain": BOTH, "channels": "preferred"}, ["chain"]),
    ],
)
def test_what_can_not_be_sent_is_told_at_its_place(hello, config, paths):
    Message.objects.create(slug="empty", name="Empty")
    problems = steps.registry["message"].problems(message_step(**config))
    assert [problem.path for problem in problems] == paths


def timeline_of(profile_id, channel):
    """The sentences that say why this message was queued."""
    delivery = Delivery.objects.get(profile_id=profile_id, channel=channel)
    event = Event(name="message_sent", occurred_at=NOW, properties={"delivery": delivery.pk})
    return Reasons([event], profile_id).of(event)


def test_a_run_waits_at_its_chain_and_is_woken_by_what_becomes_of_the_message(world, memory):
    MessageContent.objects.create(message=world.message, channel="memory", content={"text": "Hi"})
    MessageContent.objects.create(message=world.message, channel="inapp", content={"title": "Hi"})
    ann, bob = visitor(1), visitor(2)
    for each in (ann, bob):
        answer(each, consent.SUBSCRIBED, ["memory"], at=world.now - timedelta(days=1))
    answer(bob, consent.UNSUBSCRIBED, ["memory"], at=world.now - timedelta(hours=1))
    world.flow([{"key": "m", "kind": "message", "config": {"message": "hello", "chain": BOTH}}])
    for each in (ann, bob):
        world.happens(each.pk, "signed_up")
    world.run()
    assert set(Enrollment.objects.values_list("step", "state")) == {("m", "active")}
    dispatch.run(world.now)
    world.run(seconds=1)
    assert set(Enrollment.objects.values_list("profile_id", "state")) == {
        (ann.pk, "active"),
        (bob.pk, "completed"),
    }
    assert Enrollment.objects.get(profile=ann).due_at == world.now + FOUR_HOURS - timedelta(seconds=1)
    world.now += timedelta(hours=1)
    tracking.record(tokens.make(Delivery.objects.get(profile=ann).pk), "clicked", world.now, world.now)
    world.run()
    assert Enrollment.objects.get(profile=ann).state == "completed"
    assert sorted(Delivery.objects.values_list("profile_id", "channel")) == sorted(
        [(ann.pk, "memory"), (bob.pk, "memory"), (bob.pk, "inapp")]
    )
    decided = Decision.objects.filter(profile=ann, step="m").order_by("pk").values_list("kind", flat=True)
    assert list(decided) == ["message:wait", "message:go_on"]
    told = {channel: timeline_of(bob.pk, channel) for channel in ("memory", "inapp")}
    assert len(told["memory"]) == 2  # entered, queued; not what the flow did when that had failed
    assert len(told["inapp"]) == 3
    assert Event.objects.filter(profile=ann, name="flow_completed").exists()
    assert engine.advance(world.now + timedelta(days=9)) == 0
