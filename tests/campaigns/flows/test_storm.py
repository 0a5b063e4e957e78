"""Many flows with many people at once: nobody's message waits until the others are done, and no fault spreads."""

import pytest

from campaigns.flows import engine, people, troubles
from campaigns.models import Decision, Enrollment, Flow, Segment
from crm.models import Alert
from delivery import dispatch
from delivery.models import Delivery, MessageContent
from tests.campaigns.flows.standing import stand
from tests.campaigns.flows.test_engine import HELLO, split

FLOWS = 16
PEOPLE = 20  # in each flow of the storm
BATCH = 40
STORM = FLOWS * PEOPLE

IN_APP = {**HELLO, "config": {**HELLO["config"], "channel": "inapp"}}
GOLD = {"kind": "segment", "slug": "gold"}


@pytest.fixture
def storm(world) -> list[Flow]:
    """Live flows in each of which a crowd stands before a message."""
    MessageContent.objects.create(message=world.message, channel="inapp", content={"title": "Hello"})
    crowd = [(world.person(f"p{number}"), {}) for number in range(PEOPLE)]
    flows = [
        world.flow([IN_APP], trigger=f"began{number % 5}", slug=f"storm{number}") for number in range(FLOWS)
    ]
    for flow in flows:
        stand(world, flow, crowd, key="m")
    return flows


def backlog() -> int:
    return Enrollment.objects.filter(flow__slug__startswith="storm", state="active").count()


def test_a_quiet_flow_has_its_turn_while_others_have_crowds_that_are_due(world, storm):
    quiet = world.flow([IN_APP], trigger="asked", slug="quiet", priority=1)
    ann = world.person("ann")
    world.now += engine.timedelta(minutes=1)  # all of the storm was due before
    stand(world, quiet, [(ann, {})], key="m")

    assert engine.advance(world.now, limit=BATCH) <= 2 * BATCH
    assert Delivery.objects.filter(origin_id=quiet.pk).count() == 1
    assert backlog() >= STORM - 2 * BATCH
    assert Delivery.objects.count() > 1, (
        "senders have work from the first batch on, not when the storm is over"
    )

    while engine.advance(world.now, limit=BATCH):
        pass
    assert Delivery.objects.count() == STORM + 1
    dispatch.run(world.now, limit=BATCH)
    quiet_one = Delivery.objects.get(origin_id=quiet.pk)
    assert quiet_one.state not in ("queued", "deferred"), "urgent ones need not wait for the storm's"
    assert Delivery.objects.filter(state="queued").count() >= STORM - BATCH


def test_a_flow_whose_step_always_fails_is_kept_apart_shown_and_goes_on_when_mended(world, storm):
    gold = Segment.objects.create(slug="gold", name="Gold", rule={"all": []})
    broken = world.flow([split(("gold", GOLD, [IN_APP]), ("else", None, []))], trigger="came", slug="broken")
    crowd = [(world.person(f"b{number}"), {}) for number in range(STORM // 4)]
    stand(world, broken, crowd, key="s")
    gold.delete()

    batches = 0
    while backlog():
        assert engine.advance(world.now, limit=BATCH)
        batches += 1
    assert batches <= 2 * STORM // BATCH, "what fails takes no more than its share"
    while engine.advance(world.now, limit=BATCH):
        pass
    broken.refresh_from_db()
    assert "gold" in broken.error
    assert broken.slug in Alert.objects.get(resolved_at=None).title
    held = Enrollment.objects.filter(flow=broken, state="active", step_state__error=True)
    assert held.count() == len(crowd)
    assert people.step_counts(broken)["s"].here == len(crowd)
    assert Decision.objects.filter(flow=broken, kind="error").count() == len(crowd)
    assert Delivery.objects.count() == STORM

    Segment.objects.create(slug="gold", name="Gold", rule={"all": []})
    assert troubles.retry(broken.pk, world.now) == len(crowd)
    while engine.advance(world.now, limit=BATCH):
        pass
    assert not held.exists()
    assert Enrollment.objects.filter(flow=broken, state="completed").count() == len(crowd)
    broken.refresh_from_db()
    assert broken.error == ""
    assert not Alert.objects.filter(resolved_at=None).exists()
