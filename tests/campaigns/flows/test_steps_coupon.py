"""The step that gives coupon codes, and the messages that name them."""

from datetime import timedelta

import pytest

from campaigns.models import Enrollment
from delivery import coupons
from delivery.models import CouponCode, CouponPool, Delivery
from tests.campaigns.flows.standing import advance, facts, form_of, problems, queries, rehearsed, stand, step

HELLO = {"key": "s2", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}


@pytest.fixture
def pool(world):
    return CouponPool.objects.create(slug="spring", name="Spring", low_mark=0)


def test_the_code_reaches_the_message_and_a_person_has_one(world, pool):
    coupons.add(pool, ["A", "B"])
    ann = world.person("ann")
    foreseen = rehearsed(world, "coupon", {"pool": "spring"}, [(ann, {})])
    assert foreseen == [{"pool": "spring", "code": "EXAMPLE-CODE"}]
    flow = world.flow([step("coupon", pool="spring"), HELLO])
    stand(world, flow, [(ann, {"event": {}}), (ann, {})])
    advance(world)
    codes = [delivery.context["coupon"]["code"] for delivery in Delivery.objects.all()]
    assert codes == ["A", "A"]
    assert CouponCode.objects.get(code="A").cause.startswith("flow:")
    assert rehearsed(world, "coupon", {"pool": "spring"}, [(ann, {})]) == facts()[:1]


@pytest.mark.parametrize(("if_empty", "at"), [("wait", "s1"), ("go_on", "s2")])
def test_without_codes_people_wait_for_more_or_go_on(world, pool, if_empty, at):
    coupons.add(pool, ["A"])
    people = [(world.person(name), {}) for name in ("ann", "bob")]
    flow = world.flow(
        [step("coupon", pool="spring", if_empty=if_empty), step("wait", "s2", amount=1, unit="days")]
    )
    stand(world, flow, people)
    advance(world)
    assert sorted(Enrollment.objects.values_list("step", flat=True)) == sorted([at, "s2"])
    coupons.add(pool, ["B"])
    advance(world, minutes=20)
    assert set(Enrollment.objects.values_list("step", flat=True)) == {"s2"}
    assert CouponCode.objects.exclude(profile=None).count() == (2 if if_empty == "wait" else 1)


def test_a_batch_takes_as_many_queries_as_one_person(world, pool):
    coupons.generate(pool, 50)
    flow = world.flow([step("coupon", pool="spring")])
    people = [(world.person(f"p{number}"), {}) for number in range(20)]
    queries(world, flow, people[:1])
    assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])
    assert CouponCode.objects.exclude(profile=None).count() == 20


def test_settings(world, pool):
    assert problems("coupon", pool="gone") == problems("coupon", pool="spring") == {"pool"}
    coupons.add(pool, ["A"])
    assert problems("coupon", pool="spring") == set()
    CouponPool.objects.update(expires_at=world.now - timedelta(days=1000))
    assert problems("coupon", pool="spring") == {"pool"}
    config = {"pool": "spring", "if_empty": "go_on"}
    assert form_of("coupon", config) == config
