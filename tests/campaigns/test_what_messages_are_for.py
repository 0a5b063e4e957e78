"""Messages and coupon pools that flows, rules and broadcasts need are not deleted or renamed unawares."""

import pytest
from django.urls import reverse

from campaigns.models import Broadcast, Flow, FlowVersion, Segment
from delivery import coupons, usage
from delivery.models import CouponCode, CouponPool, Message
from tests.delivery import world

pytestmark = pytest.mark.django_db
STEPS = [
    {"key": "s1", "kind": "coupon", "config": {"pool": "spring"}},
    {"key": "s2", "kind": "split", "branches": [
        {"key": "b1", "steps": [{"key": "s3", "kind": "message", "config": {"message": "welcome"}}]},
    ]},
]  # fmt: skip


@pytest.fixture
def flow() -> Flow:
    made = Flow.objects.create(slug="hello", name="Hello", draft={}, state=Flow.State.LIVE)
    made.live_version = FlowVersion.objects.create(
        flow=made, number=1, definition={"steps": STEPS}, published_at=world.NOW
    )
    made.save()
    return made


def _delete(client, model: str, pk: int) -> str:
    page = reverse(f"admin:delivery_{model}_delete", args=[pk])
    assert client.get(page).status_code == 200
    return client.post(page, {"post": "yes"}, follow=True).text


def test_every_way_to_need_a_message_is_found(flow) -> None:
    welcome, everybody = world.message(), Segment.objects.create(slug="all", name="All", rule={"all": []})
    Broadcast.objects.create(name="News", message=welcome, segment=everybody, channel="memory")
    rule = {"not": {"any": [{"kind": "message", "did": "opened", "message": "welcome"}]}}
    Segment.objects.create(slug="cold", name="Cold", rule=rule)
    assert {use.text for use in usage.uses(usage.MESSAGE)["welcome"]} == {
        "the flow “Hello” (step “Message”)",
        "the segment “Cold”",
        "the broadcast “News”",
    }
    assert [use.text for use in usage.uses(usage.POOL)["spring"]] == ["the flow “Hello” (step “Coupon code”)"]


def test_a_message_that_a_flow_sends_stays_until_the_flow_is_over(admin_client, flow) -> None:
    welcome = world.message()
    assert "the flow “Hello”" in _delete(admin_client, "message", welcome.pk)
    chosen = {"action": "delete_selected", "_selected_action": [welcome.pk], "post": "yes"}
    listed = reverse("admin:delivery_message_changelist")
    assert "the flow “Hello”" in admin_client.post(listed, chosen).text
    assert Message.objects.exists()
    Flow.objects.update(state=Flow.State.STOPPED)
    _delete(admin_client, "message", welcome.pk)
    assert not Message.objects.exists()


def test_what_was_sent_stays_whoever_selects_it(admin_client, django_assert_max_num_queries) -> None:
    welcome = world.message()
    world.queue(welcome, [world.person(number) for number in range(3)])
    chosen = {"action": "delete_selected", "_selected_action": [welcome.pk], "post": "yes"}
    with django_assert_max_num_queries(40):
        page = admin_client.post(reverse("admin:delivery_message_changelist"), chosen).text
    assert "“welcome” has been sent" in page
    assert Message.objects.exists()


def test_short_names_that_are_referred_to_stay(admin_client, flow) -> None:
    pool = CouponPool.objects.create(slug="spring", name="Spring")
    for page in (
        reverse("admin:delivery_message_change", args=[world.message().pk]),
        reverse("admin:delivery_couponpool_change", args=[pool.pk]),
    ):
        assert 'name="slug"' not in admin_client.get(page).text
    free = CouponPool.objects.create(slug="free", name="Free")
    page = reverse("admin:delivery_couponpool_change", args=[free.pk])
    assert 'name="slug"' in admin_client.get(page).text


def test_a_pool_goes_with_its_codes_when_no_flow_gives_them(admin_client, flow) -> None:
    pool = CouponPool.objects.create(slug="spring", name="Spring")
    coupons.add(pool, ["A", "B", "C"])
    coupons.give(pool, [(world.person().pk, "by hand")])
    assert "the flow “Hello”" in _delete(admin_client, "couponpool", pool.pk)
    assert CouponCode.objects.count() == 3
    Flow.objects.update(state=Flow.State.STOPPED)
    page = admin_client.get(reverse("admin:delivery_couponpool_delete", args=[pool.pk])).text
    assert "codes that people have" in page.lower()
    _delete(admin_client, "couponpool", pool.pk)
    assert not CouponCode.objects.exists()
