"""People come into the arms of experiments where they are sent to, or take a branch, and are told of once."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.broadcasts import expanding
from campaigns.experiments import assigning, life
from campaigns.flows import shares as places
from campaigns.models import Broadcast, Enrollment, Experiment, Segment
from crm.models import Event
from delivery import channels, dispatch, exposures, outbox, variants
from delivery.models import Delivery, MessageContent, MessageVariant
from tests.campaigns.flows.conftest import World
from tests.delivery import world as outbox_world

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def memory():
    channel = channels.get("memory")
    channel.reset()
    yield channel
    channel.reset()


def two_variants(**fields):
    made = outbox_world.message("offer", **fields)
    MessageContent.objects.create(message=made, channel="memory", variant="b", content={"text": "Hi"})
    for key in "ab":
        MessageVariant.objects.create(message=made, key=key, weight=50)
    return made


def running(subject: str, **fields) -> Experiment:
    made = Experiment.objects.create(
        **{"name": "Trial", "slug": f"trial-{Experiment.objects.count()}", "subject": subject, **fields}
    )
    return life.start(made.pk, now=NOW)


def exposed(experiment: Experiment | str) -> dict[int, str]:
    key = experiment if isinstance(experiment, str) else experiment.key
    rows = Event.objects.filter(name=exposures.EVENT, properties__experiment=key).values_list(
        "profile_id", "properties__arm"
    )
    assert len(dict(rows)) == len(rows)
    return dict(rows)


@pytest.mark.django_db
def test_who_is_sent_a_variant_is_told_of_once(memory) -> None:
    offer = two_variants()
    trial = running("message", message=offer)
    people = [outbox_world.person(number) for number in range(8)]
    silent = outbox_world.person(99, agrees=False)
    for turn in range(2):
        outbox.queue(
            [outbox_world.request(f"{turn}:{each.pk}", offer, each) for each in [*people, silent]], NOW
        )
        dispatch.run(NOW + turn * HOUR)
    weights = {"a": 50, "b": 50}
    assert exposed(trial) == {each.pk: variants.chosen(offer.pk, each.pk, weights) for each in people}


@pytest.mark.django_db
def test_looking_for_experiments_takes_one_query_for_any_number_of_people(memory) -> None:
    offer = two_variants()
    running("message", message=offer)
    deliveries = outbox_world.queue(offer, [outbox_world.person(number) for number in range(10)])
    for batch in (deliveries[:1], deliveries):
        with CaptureQueriesContext(connection) as seen:
            list(assigning.sending(batch))
        assert len(seen) == 1


def broadcast(message, **fields) -> Broadcast:
    segment = Segment.objects.create(slug="everybody", name="Everybody", rule={"all": []})
    return Broadcast.objects.create(
        name="News", message=message, segment=segment, **{"channel": "memory", **fields}
    )


@pytest.mark.django_db
def test_a_broadcast_holds_people_out_and_adds_up(memory) -> None:
    people = [outbox_world.person(number) for number in range(12)]
    news = broadcast(outbox_world.message("news"), holdout_percent=50)
    assert expanding.launch(news.pk, now=NOW) == 12
    dispatch.run(NOW)
    name = f"holdout:broadcast:{news.pk}"
    arms = exposed(name)
    assert arms == {
        each.pk: "held_out" if exposures.held_out(name, each.pk, 50) else "treated" for each in people
    }
    out = Delivery.objects.filter(state="suppressed", reason="held out")
    assert set(out.values_list("profile_id", flat=True)) == {
        pk for pk, arm in arms.items() if arm == "held_out"
    }
    assert Delivery.objects.filter(state="sent").count() + out.count() == 12


@pytest.mark.django_db
def test_a_broadcast_tries_times_out(memory) -> None:
    people = [outbox_world.person(number) for number in range(10)]
    news = broadcast(outbox_world.message("news"))
    trial = running(
        "broadcast",
        broadcast=news,
        arms=[
            {"key": "arm1", "name": "Now", "percent": 50.0, "channel": "", "delay_minutes": 0},
            {"key": "arm2", "name": "Later", "percent": 50.0, "channel": "", "delay_minutes": 180},
        ],
    )
    expanding.launch(news.pk, now=NOW)
    dispatch.run(NOW)
    first = exposed(trial)
    assert set(first.values()) == {"arm1"}
    dispatch.run(NOW + 3 * HOUR)
    assert exposed(trial) == {each.pk: assigning.arm(trial, each.pk) for each in people}
    late = Delivery.objects.filter(due_at=NOW + 3 * HOUR).values_list("profile_id", flat=True)
    assert set(late) == {pk for pk, arm in exposed(trial).items() if arm == "arm2"} != set()


@pytest.mark.django_db
def test_only_those_whom_every_arm_reaches_are_divided_by_channel(memory) -> None:
    both = [outbox_world.person(number, channels=["memory", "email"]) for number in range(8)]
    one = [outbox_world.person(number, channels=["memory"]) for number in range(8, 14)]
    made = outbox_world.message("news")
    MessageContent.objects.create(message=made, channel="email", content={"subject": "Hello", "html": "Hi"})
    news = broadcast(made)
    arms = [
        {"key": "arm1", "name": "Here", "percent": 50.0, "channel": "", "delay_minutes": 0},
        {"key": "arm2", "name": "By email", "percent": 50.0, "channel": "email", "delay_minutes": 0},
    ]
    trial = running("broadcast", broadcast=news, arms=arms)
    assert expanding.launch(news.pk, now=NOW) == 14
    sent = dict(Delivery.objects.values_list("profile_id", "channel"))
    mine = {each.pk: assigning.arm(trial, each.pk) for each in both}
    assert {pk: sent[pk] for pk in mine} == {
        pk: "email" if key == "arm2" else "memory" for pk, key in mine.items()
    }
    assert set(mine.values()) == {"arm1", "arm2"}
    assert {sent[each.pk] for each in one} == {"memory"}
    told = {each.profile_id: each.arm for each in assigning.sending(list(Delivery.objects.all()))}
    assert told == mine


def test_who_takes_a_branch_of_a_random_split_is_told_of_once(transactional_db) -> None:
    world = World()
    branches = [{"name": name, "percent": 50, "steps": []} for name in ("Short", "Long")]
    flow = world.flow(
        [{"key": "r1", "kind": "random", "config": {}, "branches": branches}],
        reentry={"mode": "always"},
        holdout_percent=0,
    )
    trial = running("step", flow=flow, step="r1")
    people = [world.person(f"p{number}") for number in range(8)]
    for _turn in range(2):
        for each in people:
            world.happens(each, "signed_up")
        world.run(hours=1)
    assert exposed(trial) == {
        each: "Short" if places.place(each, "welcome", "r1") < 50 else "Long" for each in people
    }


def test_a_flow_tells_of_both_sides_of_its_holdout(transactional_db) -> None:
    world = World()
    flow = world.flow(
        [{"key": "w1", "kind": "wait", "config": {"amount": 1, "unit": "days"}}], holdout_percent=50
    )
    people = [world.person(f"p{number}") for number in range(8)]
    for each in people:
        world.happens(each, "signed_up")
    world.run()
    out = set(Enrollment.objects.filter(holdout=True).values_list("profile_id", flat=True))
    assert exposed(f"holdout:flow:{flow.pk}") == {
        each: "held_out" if each in out else "treated" for each in people
    }


def test_the_branch_that_wins_gets_everybody_by_a_new_version(transactional_db) -> None:
    world = World()
    branches = [{"name": name, "percent": 50, "steps": []} for name in ("Short", "Long")]
    flow = world.flow([{"key": "r1", "kind": "random", "config": {}, "branches": branches}])
    trial = running("step", flow=flow, step="r1", mode="winner")
    published, flow.draft = flow.draft, {**flow.draft, "holdout_percent": 1}
    flow.save()
    # What somebody is still writing must not go live by it.
    assert not life.decide(trial.pk, "winner", "Long", apply=True)
    trial.refresh_from_db()
    assert trial.state == "running"
    assert trial.decision["waits"]
    flow.draft = published
    flow.save()
    assert life.decide(trial.pk, "same", "Short", apply=True)
    flow.refresh_from_db()
    [step] = flow.live_version.definition["steps"]
    assert {each["name"]: each["percent"] for each in step["branches"]} == {"Short": 0, "Long": 100}
    trial.refresh_from_db()
    assert (trial.state, trial.decision["state"], trial.decision["choice"]) == ("decided", "winner", "Long")
