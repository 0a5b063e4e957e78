"""Holdouts: who is held out gets nothing, always the same people, and the log tells both sides once."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from crm import merging, privacy, unmerging
from crm.models import Alert, Event
from delivery import dispatch, exposures, outbox
from delivery.channels.memory import Memory
from delivery.models import Delivery, Exposure, SendingRules
from delivery.policies import Facts, approval, holdouts, rules
from delivery.variants import PLACES
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


def exposed() -> dict[tuple[str, int], str]:
    rows = Event.objects.filter(name=exposures.EVENT).values_list("properties", "profile_id")
    found = {(facts["experiment"], profile): facts["arm"] for facts, profile in rows}
    assert len(found) == len(rows), "somebody was exposed twice"
    return found


def hold_out_of_everything(percent: int) -> None:
    SendingRules.objects.filter(pk=SendingRules.of_account().pk).update(global_holdout_percent=percent)


def test_who_is_held_out_of_a_message_gets_nothing_and_the_log_tells_both_sides(memory: Memory) -> None:
    offer = world.message("offer", holdout_percent=50)
    people = [world.person(number) for number in range(16)]
    deliveries = world.queue(offer, people)
    dispatch.run(NOW)
    name = holdouts.of_message(offer.pk)
    out = {each.pk for each in people if exposures.held_out(name, each.pk, 50)}
    assert 0 < len(out) < 16
    for each in deliveries:
        each.refresh_from_db()
        held = each.profile_id in out
        assert (each.state, each.reason) == (("suppressed", "held out") if held else ("sent", ""))
        assert each.tries.exists() is not held
    assert exposed() == {(name, each.pk): "held_out" if each.pk in out else "treated" for each in people}


def test_exposure_is_told_once_however_often_something_is_sent(memory: Memory) -> None:
    offer = world.message("offer", holdout_percent=50)
    people = [world.person(number) for number in range(6)]
    for turn in range(3):
        at = NOW + turn * timedelta(hours=1)
        outbox.queue([world.request(f"{turn}:{each.pk}", offer, each) for each in people], at)
        dispatch.run(at)
    assert len(exposed()) == 6
    first = exposures.record([exposures.Exposure("x", people[0].pk, "a")], NOW)
    again = exposures.record([exposures.Exposure("x", people[0].pk, "b")], NOW + timedelta(days=1))
    assert (first, again) == (1, 0)
    assert exposed()["x", people[0].pk] == "a"


def test_who_is_held_out_of_everything_is_in_no_other_holdout(memory: Memory) -> None:
    hold_out_of_everything(50)
    offer = world.message("offer", holdout_percent=90)
    people = [world.person(number) for number in range(12)]
    world.queue(offer, people)
    dispatch.run(NOW)
    found = exposed()
    for each in people:
        everywhere = found[holdouts.GLOBAL, each.pk]
        assert ((holdouts.of_message(offer.pk), each.pk) in found) is (everywhere == "treated")


def test_what_is_part_of_a_service_and_what_asks_for_confirmation_holds_nobody_out(memory: Memory) -> None:
    hold_out_of_everything(50)
    receipt = world.message("receipt", transactional=True)
    asks = world.message("asks", confirms=True)
    approval.approve(User.objects.create_superuser("eve"), receipt.pk, NOW)
    people = [world.person(number) for number in range(8)]
    sent = world.queue(receipt, people)
    world.queue(asks, people)
    dispatch.run(NOW)
    assert {Delivery.objects.get(pk=each.pk).state for each in sent} == {"sent"}
    assert not Delivery.objects.filter(reason=holdouts.HELD_OUT).exists()
    assert not exposed()


def test_holdouts_cost_the_same_queries_for_any_number_of_people(memory: Memory) -> None:
    offer = world.message("offer", holdout_percent=10)
    counts = []
    for first, last in ((0, 2), (2, 22)):
        batch = world.queue(offer, [world.person(number) for number in range(first, last)])
        for each in batch:
            each.message = offer
        facts = Facts({})
        rules.of(facts, batch)
        with CaptureQueriesContext(connection) as seen:
            holdouts.judge(batch, facts, NOW)
        counts.append(sum("SAVEPOINT" not in each["sql"] for each in seen))
    assert counts[0] == counts[1] <= 6, counts


def test_without_holdouts_nobody_is_held_out_and_nothing_is_asked_or_written(memory: Memory) -> None:
    offer = world.message("offer")
    batch = world.queue(offer, [world.person(number) for number in range(12)])
    for each in batch:
        each.message = offer
    facts = Facts({})
    rules.of(facts, batch)
    with CaptureQueriesContext(connection) as seen:
        assert holdouts.judge(batch, facts, NOW) == {}
    assert not seen.captured_queries
    with CaptureQueriesContext(connection) as seen:
        exposures.sending(batch, NOW)
    assert len(seen) <= 1
    assert dispatch.run(NOW).sent == 12
    assert not exposed()


def test_to_ask_whether_somebody_is_held_out_counts_nobody(memory: Memory) -> None:
    hold_out_of_everything(50)
    offer = world.message("offer")
    batch = world.queue(offer, [world.person(number) for number in range(12)])
    for each in batch:
        each.message = offer
    foreseen = holdouts.foreseen(batch, Facts({}), NOW)
    assert not Exposure.objects.exists()
    assert foreseen == holdouts.judge(batch, Facts({}), NOW) != {}


@pytest.mark.parametrize("fault", ["asking", "writing"])
def test_messages_go_out_where_it_cannot_be_told_what_they_are_part_of(
    memory: Memory, monkeypatch, fault: str
) -> None:
    def part(deliveries):
        if fault == "asking":
            raise KeyError("percent")
        return [
            exposures.Exposure("x", each.profile_id, "\0") for each in deliveries
        ]  # PostgreSQL takes no NUL

    monkeypatch.setattr(exposures, "_sources", [part])
    world.queue(world.message("offer"), [world.person(number) for number in range(5)])
    assert dispatch.run(NOW).sent == 5
    assert not exposed()
    assert Alert.objects.filter(key=exposures.BROKEN).exists()


def test_what_an_erased_person_was_part_of_goes_behind_what_waits_for_them(memory: Memory) -> None:
    ann = world.person(1)
    world.queue(world.message("offer"), [ann])
    exposures.record([exposures.Exposure("x", ann.pk, "b")], NOW)
    with CaptureQueriesContext(connection) as seen:
        privacy.erase([ann.pk], "test")
    assert not Exposure.objects.exists()
    asked = [each["sql"] for each in seen]
    locked = next(n for n, sql in enumerate(asked) if "FOR UPDATE" in sql and '"delivery_delivery"' in sql)
    gone = next(n for n, sql in enumerate(asked) if sql.startswith('DELETE FROM "delivery_exposure"'))
    assert locked < gone


def test_what_a_merged_person_was_part_of_the_winner_is_part_of() -> None:
    winner, loser = world.person(1), world.person(2)
    exposures.record([exposures.Exposure("x", loser.pk, "b")], NOW)
    merging.merge([(loser.pk, winner.pk)], "test")
    assert exposures.record([exposures.Exposure("x", winner.pk, "a")], NOW + timedelta(hours=1)) == 0
    assert exposed() == {("x", winner.pk): "b"}
    assert Exposure.objects.get(profile_id=winner.pk).arm == "b"


def sides() -> dict[int, set[tuple[str, str]]]:
    found: dict[int, set[tuple[str, str]]] = {}
    for row in Exposure.objects.all():
        found.setdefault(row.profile_id, set()).add((row.experiment, row.arm))
    return found


class Unmerging(TestCase):
    @given(
        st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2), st.sampled_from("ab")), max_size=7),
        st.booleans(),
    )
    @settings(deadline=None, max_examples=10)
    def test_undoing_a_merge_gives_back_what_each_was_part_of(self, told: list, one_more: bool) -> None:
        people = [world.person(f"{uuid.uuid4().hex}") for _number in range(3)]
        for hour, (experiment, number, arm) in enumerate(told):
            exposures.record(
                [exposures.Exposure(experiment, people[number].pk, arm)], NOW + timedelta(hours=hour)
            )
        before, winner = sides(), people[0].pk
        merging.merge([(people[1].pk, winner)], "test", NOW)
        middle = sides()
        if one_more:
            merging.merge([(people[2].pk, winner)], "test", NOW)
            unmerging.undo(unmerging.last(winner).pk, NOW)
            assert sides() == middle
        exposures.record([exposures.Exposure("since", winner, "a")], NOW + timedelta(days=1))
        unmerging.undo(unmerging.last(winner).pk, NOW)
        before.setdefault(winner, set()).add(("since", "a"))
        assert sides() == before


@given(st.integers(1, 10**9), st.integers(1, 49))
@settings(deadline=None)
def test_a_larger_holdout_has_the_smaller_one_in_it(profile: int, percent: int) -> None:
    if exposures.held_out("holdout:global", profile, percent):
        assert exposures.held_out("holdout:global", profile, percent + 1)


def test_experiments_divide_people_evenly_and_independently_of_each_other() -> None:
    people = range(1, 20_001)
    one = [exposures.place("experiment:1", each) < PLACES // 2 for each in people]
    two = [exposures.place("experiment:2", each) < PLACES // 2 for each in people]
    both = sum(a and b for a, b in zip(one, two, strict=True))
    assert abs(sum(one) - 10_000) < 350  # five standard deviations
    assert abs(both - 5_000) < 310
