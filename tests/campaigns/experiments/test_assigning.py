"""People come into the arms of experiments where they are sent to, or take a branch, and are told of once."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from campaigns.broadcasts import expanding
from campaigns.experiments import assigning, life, ranges
from campaigns.flows import shares as places
from campaigns.models import Broadcast, Enrollment, Experiment, Segment
from crm.models import Alert, Event, Profile
from delivery import channels, dispatch, exposures, outbox, variants
from delivery.models import Delivery, MessageContent, MessageVariant, SendingRules
from delivery.policies import holdouts
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


def variants_of(keys: str, slug: str = "offer"):
    made = outbox_world.message(slug)
    for key in keys:
        MessageVariant.objects.create(message=made, key=key, weight=50)
        if key != "a":
            MessageContent.objects.create(message=made, channel="memory", variant=key, content={"text": key})
    return made


def two_variants():
    return variants_of("ab")


def percents(shares) -> dict[str, float]:
    return {key: 100 * share / sum(shares) for key, share in zip("abc", shares, strict=True)}


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


class Sticky(TestCase):
    @given(
        st.lists(
            st.tuples(
                st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True),
                st.tuples(*[st.integers(5, 90)] * 3),
            ),
            min_size=2,
            max_size=3,
        )
    )
    @settings(deadline=None, max_examples=4)
    def test_who_was_in_an_arm_gets_its_variant_however_shares_change(self, turns: list) -> None:
        channels.get("memory").reset()
        offer = variants_of("abc", slug=f"offer-{uuid.uuid4().hex[:8]}")
        trial = running("message", message=offer, mode="bandit")
        people = [outbox_world.person(f"{offer.slug}{number}") for number in range(6)]
        first: dict[int, str] = {}
        for turn, (who, shares) in enumerate(turns):
            at = NOW + turn * HOUR
            asked = [outbox_world.request(f"{offer.slug}:{turn}:{each}", offer, people[each]) for each in who]
            outbox.queue(asked, at)
            # What was queued by the shares of before is sent by those of now.
            assert life.reweigh(trial.pk, percents(shares), now=at)
            trial.refresh_from_db()
            dispatch.run(at)
            got = Delivery.objects.filter(message=offer, cause__startswith=f"{offer.slug}:{turn}:")
            for pk, variant, state in got.values_list("profile_id", "variant", "state"):
                place = variants.place(offer.pk, pk)
                assert (state, variant) == ("sent", first.setdefault(pk, ranges.at(trial.ranges, place)))
        assert exposed(trial) == first


@pytest.mark.django_db
def test_a_closed_arm_loses_its_people_and_what_only_measures_keeps_them(memory) -> None:
    for mode, expected in (("bandit", {"a", "b"}), ("measure", {"a", "b", "c"})):
        offer = variants_of("abc", slug=f"offer-{mode}")
        trial = running("message", message=offer, mode=mode)
        people = [outbox_world.person(f"{mode}{number}") for number in range(9)]
        arms = {each.pk: "abc"[number % 3] for number, each in enumerate(people)}
        exposures.record([exposures.Exposure(trial.key, *each) for each in arms.items()], NOW)
        if mode == "bandit":
            life.reweigh(trial.pk, {"a": 50, "b": 40, "c": 10}, {"c": "complained"}, now=NOW)
            trial.refresh_from_db()
            assert trial.closed == {"c": "complained"}
            assert trial.shares["c"] == 0
            assert Alert.objects.filter(key=f"{life.alert_key(trial)}:closed:c").exists()
        outbox.queue([outbox_world.request(f"{mode}{each.pk}", offer, each) for each in people], NOW)
        dispatch.run(NOW)
        got = dict(Delivery.objects.filter(message=offer).values_list("profile_id", "variant"))
        assert set(got.values()) == expected
        assert all(got[pk] == arm for pk, arm in arms.items() if arm in expected)


@pytest.mark.django_db
def test_the_variant_that_somebody_is_to_get_is_asked_for_at_once(memory) -> None:
    offer = two_variants()
    deliveries = outbox_world.queue(offer, [outbox_world.person(number) for number in range(10)])
    with CaptureQueriesContext(connection) as none:
        exposures.keep(deliveries)
    running("message", message=offer, mode="bandit")
    for batch in (deliveries[:1], deliveries):
        with CaptureQueriesContext(connection) as seen:
            exposures.keep(batch)
        assert (len(none), len(seen)) == (1, 3)


@pytest.mark.django_db
def test_what_can_not_be_compared_does_not_start(memory) -> None:
    offer = two_variants()
    MessageContent.objects.create(message=offer, channel="email", content={"subject": "Hi", "html": "Hi"})
    with pytest.raises(life.LifeError, match="B has no words for Email"):
        running("message", message=offer)
    news = broadcast(offer)
    assert running("broadcast", broadcast=news).state == "running"  # it goes out by the other channel alone
    MessageVariant.objects.filter(message=offer, key="b").update(weight=0)
    with pytest.raises(life.LifeError, match="nothing to compare"):
        running("message", message=offer)
    ways = [{"key": f"arm{n}", "name": str(n), "percent": 40.0, "delay_minutes": 60 * n} for n in (1, 2)]
    for arms, why in (
        (ways, "100 percent"),
        ([{**each, "name": "x", "percent": 50} for each in ways], "“x”"),
    ):
        with pytest.raises(life.LifeError, match=why):
            running(
                "broadcast",
                broadcast=broadcast(offer, slug=f"others{len(arms[0])}{arms[0]['name']}"),
                arms=arms,
            )
    MessageContent.objects.create(
        message=offer, channel="email", variant="b", content={"subject": "Hi", "html": "Hi"}
    )
    MessageVariant.objects.filter(message=offer, key="b").update(weight=50)
    assert running("message", message=offer).state == "running"


@pytest.mark.django_db
def test_looking_for_experiments_takes_one_query_for_any_number_of_people(memory) -> None:
    offer = two_variants()
    running("message", message=offer)
    deliveries = outbox_world.queue(offer, [outbox_world.person(number) for number in range(10)])
    for batch in (deliveries[:1], deliveries):
        with CaptureQueriesContext(connection) as seen:
            list(assigning.sending(batch))
        assert len(seen) == 1


def broadcast(message, slug: str = "everybody", **fields) -> Broadcast:
    segment = Segment.objects.create(slug=slug, name="Everybody", rule={"all": []})
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


def audiences(news: Broadcast) -> Experiment:
    """Half for everybody, half for those who live in Poland."""
    Segment.objects.create(
        slug="poles",
        name="Poles",
        rule={"all": [{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}]},
    )
    arms = [
        {"key": "arm1", "name": "Everybody", "percent": 50.0, "segment": ""},
        {"key": "arm2", "name": "Poles", "percent": 50.0, "segment": "poles"},
    ]
    return running("audience", broadcast=news, arms=arms)


@pytest.mark.django_db
def test_an_audience_that_is_tried_out_gets_it_and_the_rest_of_its_arm_counts(memory) -> None:
    people = [outbox_world.person(number) for number in range(24)]
    Profile.objects.filter(pk__in=[each.pk for each in people[::3]]).update(country="PL")
    silent = outbox_world.person(99, agrees=False)
    news = broadcast(outbox_world.message("news"), holdout_percent=20)
    trial = audiences(news)
    expanding.launch(news.pk, now=NOW)
    dispatch.run(NOW)
    out = {each.pk for each in people if exposures.held_out(f"holdout:broadcast:{news.pk}", each.pk, 20)}
    poles = {each.pk for each in people[::3]}
    expected = {}
    for each in people:
        if each.pk not in out:
            key = assigning.arm(trial, each.pk)
            left = key == "arm2" and each.pk not in poles
            expected[each.pk] = f"{key}~" if left else key
    assert exposed(trial) == expected
    assert {"arm1", "arm2", "arm2~"} == set(expected.values())
    assert silent.pk not in expected
    sent = set(Delivery.objects.filter(state="sent").values_list("profile_id", flat=True))
    assert sent == {pk for pk, key in expected.items() if not key.endswith("~")}
    dropped = Delivery.objects.filter(state="suppressed", reason=holdouts.NOT_ADDRESSED)
    assert set(dropped.values_list("profile_id", flat=True)) == expected.keys() - sent


@pytest.mark.django_db
def test_whom_to_address_is_asked_at_once_and_a_segment_that_is_gone_leaves_nobody_out(memory) -> None:
    people = [outbox_world.person(number) for number in range(12)]
    news = broadcast(outbox_world.message("news"))
    trial = audiences(news)
    expanding.launch(news.pk, now=NOW)
    deliveries = list(Delivery.objects.all())
    counts = []
    for batch in (deliveries[:6], deliveries):
        with CaptureQueriesContext(connection) as seen:
            assigning.addressed(batch, NOW)
        counts.append(sum("SAVEPOINT" not in each["sql"] for each in seen))
    assert counts[0] == counts[1] <= 4
    Segment.objects.filter(slug="poles").delete()
    dispatch.run(NOW)
    assert Delivery.objects.filter(state="sent").count() == len(people)
    assert not exposed(trial)
    assert Alert.objects.filter(key=exposures.BROKEN).exists()


@pytest.mark.django_db
def test_an_audience_needs_a_broadcast_that_is_still_to_be_sent_and_segments_that_are_there(memory) -> None:
    news = broadcast(outbox_world.message("news"))
    arms = [{"key": "arm1", "name": "All", "percent": 50.0, "segment": ""}]
    for more, why in (({"segment": ""}, "two audiences"), ({"segment": "gone"}, "no segment “gone”")):
        with pytest.raises(life.LifeError, match=why):
            running("audience", broadcast=news, arms=[*arms, {**arms[0], "key": "arm2", "name": "B", **more}])
    Broadcast.objects.filter(pk=news.pk).update(state="cancelled")
    news.refresh_from_db()
    with pytest.raises(life.LifeError, match="over"):
        audiences(news)


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


def test_who_is_held_out_of_everything_counts_in_no_flow(transactional_db) -> None:
    world = World()
    rules = SendingRules.of_account()
    SendingRules.objects.filter(pk=rules.pk).update(global_holdout_percent=50)
    offer = outbox_world.message("offer")
    branches = [
        {"name": name, "percent": 50, "steps": [{"key": f"m{name}", "kind": "message", "config": config}]}
        for name in ("Short", "Long")
        for config in [{"message": offer.slug, "channel": "memory"}]
    ]
    flow = world.flow(
        [{"key": "r1", "kind": "random", "config": {}, "branches": branches}], holdout_percent=30
    )
    trial = running("step", flow=flow, step="r1")
    people = [outbox_world.person(number) for number in range(20)]
    for each in people:
        world.happens(each.pk, "signed_up")
    world.run()
    dispatch.run(world.now)
    nobody = {each.pk for each in people if exposures.held_out("holdout:global", each.pk, 50)}
    arms, out = exposed(trial), Enrollment.objects.filter(holdout=True).values_list("profile_id", flat=True)
    assert set(exposed(f"holdout:flow:{flow.pk}")) == {each.pk for each in people} - nobody
    assert set(arms) == {each.pk for each in people} - nobody - set(out)
    sent = set(Delivery.objects.filter(state="sent").values_list("profile_id", flat=True))
    assert sent == set(arms) != set()
    assert nobody & set(Delivery.objects.filter(reason="held out").values_list("profile_id", flat=True))


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
